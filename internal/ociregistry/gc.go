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

// Garbage is what a garbage collection removed.
type Garbage struct {
	Blobs   int
	Bytes   int64 // of the blobs
	Links   int   // of blobs that no manifest of the repository names any more
	Uploads int   // that were abandoned
}

// GarbageCollect removes, while no server runs, the blobs that no manifest
// names, and what else has no use: see [Garbage]. It removes nothing younger
// than 24 hours, and no blob that was pushed again to any repository in that
// time: its manifest may be yet to come.
//
// Damaged links and manifests are logged by name. They stop nothing, and what
// they may have named is kept: a link is taken by its path, and a repository
// with a manifest that cannot be read keeps all its blobs.
//
// It ends with ctx between two files; what it removed until then is garbage.
func GarbageCollect(ctx context.Context, root string, now time.Time, logger *slog.Logger) (g Garbage, err error) {
	unlock, err := lock(root)
	if err != nil {
		return g, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	c := &collector{root: root, before: now.Add(-minAge), logger: logger, marked: make(map[digest.Digest]struct{})}
	err = eachRepository(ctx, root, func(repository string, err error) error {
		if err != nil {
			return err // it may name any blob
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
		return c.garbage, fmt.Errorf("the garbage collection was stopped before its end, and nothing in use was removed; run it again: %w", ctx.Err())
	}
	if err != nil {
		return c.garbage, fmt.Errorf("the garbage collection of %s failed: %w", root, err)
	}
	return c.garbage, nil
}

type collector struct {
	root    string
	before  time.Time // what is older may be removed
	logger  *slog.Logger
	marked  map[digest.Digest]struct{} // blobs to keep
	garbage Garbage
}

// collectLinks marks what a repository keeps, and removes its links to other blobs.
func (c *collector) collectLinks(ctx context.Context, repository string) error {
	revisions, err := c.links(filepath.Join(repository, "_manifests", "revisions"))
	if err != nil {
		return err
	}
	named := make(map[digest.Digest]struct{}) // by a manifest of the repository
	whole := true                             // all manifests could be read
	for _, link := range revisions {
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, d := range c.targets(link) {
			named[d] = struct{}{}
			if err := c.references(d, named); err != nil {
				c.damaged(below(c.root, dataPath(d)), "a manifest cannot be read, and its repository keeps all blobs: "+err.Error(), slog.String("repository", relative(below(c.root, repositoriesRoot), repository)))
				whole = false
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
		if !isNamed && whole && link.digest.Algorithm() == digest.SHA256 && c.isOld(link.file) {
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

// link is a file that holds a digest, in a directory that is named by it.
type link struct {
	file   string
	digest digest.Digest // of the directory's name
}

// links returns the links at DIRECTORY/ALGORITHM/HEX/link. It removes the empty
// directories that deleted links have left.
func (c *collector) links(directory string) (all []link, err error) {
	algorithms, err := directories(directory)
	if err != nil {
		return nil, err
	}
	for _, algorithm := range algorithms {
		names, err := directories(filepath.Join(directory, algorithm))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			d, ok := pathDigest(algorithm, name)
			file := filepath.Join(directory, algorithm, name, "link")
			if _, err := os.Stat(file); !ok || errors.Is(err, fs.ErrNotExist) { // not the library's, or deleted
				removeEmpty(filepath.Dir(file), below(c.root, repositoriesRoot))
				continue
			}
			all = append(all, link{file, d})
		}
	}
	return all, nil
}

// targets returns the blobs that a link leads to. A damaged one leads to what
// its path says, and to what it holds, if that is a digest at all.
func (c *collector) targets(l link) []digest.Digest {
	var all []digest.Digest
	if l.digest.Algorithm() == digest.SHA256 {
		all = append(all, l.digest)
	}
	content, err := os.ReadFile(l.file)
	held, ok := linkTarget(filepath.ToSlash(l.file), content)
	if err != nil || !ok {
		c.damaged(l.file, "a link does not hold its digest; pushing again heals it")
	}
	if held != "" && held != l.digest {
		all = append(all, held)
	}
	return all
}

// maxManifestSize is the library's limit.
const maxManifestSize = 4 << 20

// references adds to named all digests that the manifest's JSON holds, wherever
// they stand in it: more than a client may ever ask for, but never less.
func (c *collector) references(manifest digest.Digest, named map[digest.Digest]struct{}) error {
	content, err := readAtMost(below(c.root, dataPath(manifest)), maxManifestSize)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("its content is missing")
	case err != nil:
		return err
	case digest.FromBytes(content) != manifest:
		return errors.New("its content does not fit its digest")
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

// readAtMost reads a file, which must not be larger than max.
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

// collectBlobs removes the old blobs that are not marked.
func (c *collector) collectBlobs(ctx context.Context) error {
	return eachBlob(ctx, c.root, func(d digest.Digest, directory string) error {
		if _, marked := c.marked[d]; marked {
			return nil
		}
		return c.collectBlob(directory)
	})
}

// collectBlob removes the directory of a blob, if nothing in it is young.
func (c *collector) collectBlob(directory string) error {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return err
	}
	if !c.isOld(directory) {
		return nil // the blob was placed, or a write of it began, a short time ago
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
	c.logger.LogAttrs(context.Background(), slog.LevelError, "registry: "+what, attrs...)
}
