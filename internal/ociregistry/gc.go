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
	"os"
	"path/filepath"
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
	unlock, err := lock(root)
	if err != nil {
		return g, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	c := &collector{root: root, before: now.Add(-minAge), logger: logger.With(component), marked: make(map[digest.Digest]struct{})}
	err = eachRepository(ctx, root, func(repository string, err error) error {
		if err != nil {
			return err // a manifest in the unreadable directory may name any blob
		}
		return c.collectLinks(ctx, repository)
	})
	if err == nil {
		err = c.collectBlobs(ctx)
	}
	if err == nil {
		c.garbage.Uploads, err = removeUploads(ctx, &imageDirectory{root: root}, now)
	}
	if ctx.Err() != nil {
		return c.garbage, fmt.Errorf("the garbage collection was interrupted: run it again; nothing in use was removed: %w", ctx.Err())
	}
	if err != nil {
		return c.garbage, fmt.Errorf("the garbage collection of %s failed: %w", root, err)
	}
	return c.garbage, nil
}

type collector struct {
	root    string
	before  time.Time // older files may be removed
	logger  *slog.Logger
	marked  map[digest.Digest]struct{} // blobs to keep
	garbage Garbage
}

// collectLinks marks the blobs that a repository needs, and removes its links to
// other blobs.
func (c *collector) collectLinks(ctx context.Context, repository string) error {
	revisions, err := c.links(filepath.Join(repository, "_manifests", "revisions"))
	if err != nil {
		return err
	}
	named := make(map[digest.Digest]struct{}) // by a manifest of the repository
	complete := true                          // all manifests could be read
	for _, link := range revisions {
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, d := range c.targets(link) {
			named[d] = struct{}{}
			if err := c.references(d, named); err != nil {
				c.damaged(below(c.root, dataPath(d)), "a manifest cannot be read, and its repository keeps all blobs: "+err.Error(), slog.String("repository", relative(below(c.root, repositoriesRoot), repository)))
				complete = false
			}
		}
	}
	layers, err := c.links(filepath.Join(repository, "_layers"))
	if err != nil {
		return err
	}
	for _, link := range layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		targets := c.targets(link)
		_, isNamed := named[link.digest]
		if !isNamed && complete && link.digest.Algorithm() == digest.SHA256 && c.isOld(link.file) {
			if err := os.RemoveAll(filepath.Dir(link.file)); err != nil {
				return err
			}
			removeEmpty(filepath.Dir(filepath.Dir(link.file)), below(c.root, repositoriesRoot))
			c.garbage.Links++
			continue
		}
		for _, d := range targets {
			c.marked[d] = struct{}{}
		}
	}
	for d := range named {
		c.marked[d] = struct{}{}
	}
	return nil
}

// link is a file that contains a digest, in a directory whose name is that digest.
type link struct {
	file   string
	digest digest.Digest // of the directory's name
}

// links returns the links at DIRECTORY/ALGORITHM/HEX/link. It removes empty
// directories, which deleted links leave behind.
func (c *collector) links(directory string) (all []link, err error) {
	err = eachDirectory(directory, 2, func(directory string) error {
		d, ok := directoryDigest(filepath.Dir(directory), directory)
		file := filepath.Join(directory, "link")
		if _, err := os.Stat(file); !ok || errors.Is(err, fs.ErrNotExist) { // not the library's, or deleted
			removeEmpty(directory, below(c.root, repositoriesRoot))
			return nil
		}
		all = append(all, link{file, d})
		return nil
	})
	return all, err
}

// targets returns the blobs that a link names. For a damaged link these are the
// digest in its path and the digest that the file contains, if it contains one.
func (c *collector) targets(l link) []digest.Digest {
	var all []digest.Digest
	if l.digest.Algorithm() == digest.SHA256 {
		all = append(all, l.digest)
	}
	content, err := os.ReadFile(l.file)
	held, ok := linkTarget(filepath.ToSlash(l.file), content)
	if err != nil || !ok {
		c.damaged(l.file, "a link does not contain its digest; pushing the content again repairs it")
	}
	if held != "" && held != l.digest {
		all = append(all, held)
	}
	return all
}

// maxManifestSize is the library's limit.
const maxManifestSize = 4 << 20

// references adds to named all digests in the manifest's JSON, in whatever field:
// perhaps more than a client can request, but never fewer.
func (c *collector) references(manifest digest.Digest, named map[digest.Digest]struct{}) error {
	content, err := readAtMost(below(c.root, dataPath(manifest)), maxManifestSize)
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
		text, ok := token.(string)
		if !ok {
			continue
		}
		if d, err := digest.Parse(text); err == nil {
			named[d] = struct{}{}
		}
	}
}

var errTooLarge = errors.New("it is too large")

// readAtMost reads a file of at most max bytes.
func readAtMost(path string, max int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, max+1))
	if err == nil && int64(len(content)) > max {
		err = errTooLarge
	}
	return content, err
}

// collectBlobs removes old blobs that are not marked.
func (c *collector) collectBlobs(ctx context.Context) error {
	return eachBlob(ctx, c.root, func(d digest.Digest, directory string) error {
		if _, marked := c.marked[d]; marked {
			return nil
		}
		return c.collectBlob(directory)
	})
}

// directoryDigest returns the digest that the names of two directories form.
func directoryDigest(algorithm, encoded string) (d digest.Digest, ok bool) {
	return pathDigest(filepath.Base(algorithm), filepath.Base(encoded))
}

// collectBlob removes the directory of a blob if everything in it is old.
func (c *collector) collectBlob(directory string) error {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return err
	}
	if !c.isOld(directory) {
		return nil // the blob was stored, or its write started, a short time ago
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
	if err := os.RemoveAll(directory); err != nil {
		return err
	}
	removeEmpty(filepath.Dir(directory), below(c.root, blobsRoot))
	c.garbage.Blobs++
	c.garbage.Bytes += size
	return nil
}

func (c *collector) isOld(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.ModTime().Before(c.before)
}

func (c *collector) damaged(path, what string, attrs ...slog.Attr) {
	attrs = append(attrs, slog.String("path", relative(c.root, path)))
	c.logger.LogAttrs(context.Background(), slog.LevelError, what, attrs...)
}
