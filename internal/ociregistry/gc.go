package ociregistry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Garbage counts what a garbage collection removed.
type Garbage struct {
	Blobs   int
	Bytes   int64 // of the blobs
	Links   int   // to blobs that no manifest of the repository names
	Uploads int   // abandoned ones
}

// GarbageCollect removes blobs that no manifest names, links to them, and abandoned
// uploads, while no server runs. It removes nothing younger than 24 hours, and no
// blob that was pushed again to any repository in that time: the manifest that
// names it may not have been pushed yet.
//
// Damaged links and manifests are logged by name. They do not stop the collection,
// and it keeps what they may have named: for a damaged link the digest in its path
// counts, and a repository with an unreadable manifest keeps all its blobs.
//
// When ctx ends, GarbageCollect stops between two files. Everything that it has
// removed by then was garbage.
func GarbageCollect(ctx context.Context, root string, now time.Time, logger *slog.Logger) (g Garbage, err error) {
	images, err := openImageDirectory(root)
	if err != nil {
		return g, err
	}
	defer func() { err = errors.Join(err, images.close()) }()
	c := &collector{images: images, before: now.Add(-minAge), logger: logger.With(registryComponent), kept: make(digestSet)}
	err = eachRepository(ctx, images.below(repositoriesRoot), func(repository string, err error) error {
		if err != nil {
			return err // a manifest in the unreadable directory may name any blob
		}
		return c.collectLinks(ctx, repository)
	})
	if err == nil {
		err = images.eachBlob(ctx, c.collectBlob)
	}
	if err == nil {
		c.garbage.Uploads, err = removeUploads(ctx, images, now)
	}
	if ctx.Err() != nil {
		return c.garbage, fmt.Errorf("the garbage collection was interrupted: run it again; nothing in use was removed: %w", ctx.Err())
	}
	if err != nil {
		return c.garbage, fmt.Errorf("the garbage collection of %s failed: %w", root, err)
	}
	return c.garbage, nil
}

type digestSet map[digest.Digest]bool

type collector struct {
	images  *imageDirectory
	before  time.Time // older files may be removed
	logger  *slog.Logger
	kept    digestSet // blobs
	garbage Garbage
}

// collectLinks removes a repository's links to blobs that no manifest of it names, and
// adds the other blobs to kept.
func (c *collector) collectLinks(ctx context.Context, repository string) error {
	named := make(digestSet) // by a manifest of the repository
	complete := true         // all manifests could be read
	err := c.eachLink(ctx, filepath.Join(repository, "_manifests", "revisions"), func(link string, d digest.Digest) error {
		for _, manifest := range c.targets(link, d) {
			named[manifest] = true
			if err := c.references(manifest, named); err != nil {
				c.damaged(c.images.below(dataPath(manifest)), "a manifest cannot be read, and its repository keeps all blobs: "+err.Error(), slog.String("repository", strings.TrimPrefix(c.images.relative(repository), repositoriesRoot[1:]+"/")))
				complete = false
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	maps.Copy(c.kept, named)
	return c.eachLink(ctx, filepath.Join(repository, "_layers"), func(link string, d digest.Digest) error {
		targets := c.targets(link, d)
		if named[d] || !complete || d.Algorithm() != digest.SHA256 || !c.isOld(link) {
			for _, target := range targets {
				c.kept[target] = true
			}
			return nil
		}
		if err := c.remove(filepath.Dir(link), repositoriesRoot); err != nil {
			return err
		}
		c.garbage.Links++
		return nil
	})
}

// eachLink calls visit with each link at DIRECTORY/ALGORITHM/HEX/link, and the digest in
// its path. It removes empty directories, which deleted links leave behind.
func (c *collector) eachLink(ctx context.Context, directory string, visit func(link string, d digest.Digest) error) error {
	return eachDirectory(ctx, directory, 2, func(directory string) error {
		d, ok := pathDigest(filepath.Base(filepath.Dir(directory)), filepath.Base(directory))
		link := filepath.Join(directory, "link")
		if _, err := os.Stat(link); !ok || errors.Is(err, fs.ErrNotExist) { // not the library's, or deleted
			removeEmpty(directory, c.images.below(repositoriesRoot))
			return nil
		}
		return visit(link, d)
	})
}

// targets returns the blobs that a link names. For a damaged link these are the
// digest in its path and the digest that the file contains, if it contains one.
func (c *collector) targets(link string, inPath digest.Digest) []digest.Digest {
	var all []digest.Digest
	if inPath.Algorithm() == digest.SHA256 {
		all = append(all, inPath)
	}
	content, err := os.ReadFile(link)
	target, ok := linkTarget(filepath.ToSlash(link), content)
	if err != nil || !ok {
		c.damaged(link, "a link does not contain its digest; pushing the content again repairs it")
	}
	if target != "" && target != inPath {
		all = append(all, target)
	}
	return all
}

// references adds to named all digests in the manifest's JSON, in whatever field:
// perhaps more than a client can request, but never fewer.
func (c *collector) references(manifest digest.Digest, named digestSet) error {
	content, err := readAtMost(c.images.below(dataPath(manifest)), maxManifestSize)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("its content is missing")
	case err != nil:
		return err
	case digest.FromBytes(content) != manifest:
		return errors.New("its content does not match its digest")
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errors.New("its content is not JSON")
		}
		text, _ := token.(string)
		if d, err := digest.Parse(text); err == nil {
			named[d] = true
		}
	}
}

// collectBlob removes a blob that is not kept, if everything in its directory is old.
func (c *collector) collectBlob(d digest.Digest, directory string) error {
	if c.kept[d] || !c.isOld(directory) { // the blob may have been stored, or its write started, a short time ago
		return nil
	}
	entries, err := os.ReadDir(directory)
	if err != nil {
		return err
	}
	var size int64
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if !info.ModTime().Before(c.before) {
			return nil
		}
		if entry.Name() == "data" {
			size = info.Size()
		}
	}
	if err := c.remove(directory, blobsRoot); err != nil {
		return err
	}
	c.garbage.Blobs++
	c.garbage.Bytes += size
	return nil
}

// remove removes a directory, and then its parents below top that are empty.
func (c *collector) remove(directory, top string) error {
	if err := os.RemoveAll(directory); err != nil {
		return err
	}
	removeEmpty(filepath.Dir(directory), c.images.below(top))
	return nil
}

func (c *collector) isOld(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.ModTime().Before(c.before)
}

func (c *collector) damaged(path, what string, attrs ...slog.Attr) {
	attrs = append(attrs, slog.String("path", c.images.relative(path)))
	c.logger.LogAttrs(context.Background(), slog.LevelError, what, attrs...)
}
