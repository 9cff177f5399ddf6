package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/atomicfile"
)

// maxLogin is the most bytes that a login adds to a file: a secret of 1,024 bytes in
// base64, and the names around it.
const maxLogin = 4 << 10

// checkDockerConfig returns an error if the login of a new user cannot be added to a
// file. Call it before the user is created.
func checkDockerConfig(ctx context.Context, path, host, name string) error {
	if name == "" {
		return usagef("a user with the empty name logs in as REGISTRY+, and this command does not know that name: leave --docker-config out")
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return usagef("--docker-config: %w", err)
	}
	if _, _, err := readDockerConfig(path, host); err != nil {
		return err
	}
	if err := atomicfile.Check(path, maxLogin); err != nil {
		return usagef("--docker-config %s cannot be written: %w", path, err)
	}
	unlock, err := lockDockerConfig(ctx, path)
	if err != nil {
		return usagef("--docker-config: %w", err)
	}
	return unlock()
}

// dockerConfigWait is how long to wait for other commands that write the same file.
const dockerConfigWait = 30 * time.Second

// lockDockerConfig prevents other commands of this program from changing the file
// until unlock is called. (docker itself does not lock it.) The lock is a second
// file beside it, because the file itself is replaced.
func lockDockerConfig(ctx context.Context, path string) (unlock func() error, err error) {
	path, info, err := atomicfile.Resolve(path)
	if err != nil {
		return nil, err
	}
	if info == nil {
		if info, err = os.Stat(filepath.Dir(path)); err != nil {
			return nil, err
		}
	}
	name := path + ".lock"
	_, before := os.Lstat(name)
	lock := flock.New(name, flock.SetPermissions(0o600))
	ctx, cancel := context.WithTimeout(ctx, dockerConfigWait)
	defer cancel()
	if _, err := lock.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		return nil, fmt.Errorf("%s cannot be locked: %w", name, err)
	}
	if errors.Is(before, fs.ErrNotExist) { // root may have created the lock; the file's owner must be able to use it, too
		if err := atomicfile.CopyOwner(name, info); err != nil {
			return nil, errors.Join(err, lock.Close())
		}
	}
	return lock.Close, nil
}

// addLogin adds a login to a docker configuration file and changes nothing else in
// it.
func addLogin(ctx context.Context, path, host, name string, secret registryusers.Secret) (err error) {
	unlock, err := lockDockerConfig(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	config, auths, err := readDockerConfig(path, host)
	if err != nil {
		return err
	}
	login := base64.StdEncoding.EncodeToString([]byte(name + ":" + secret.Reveal()))
	if auths[host], err = json.Marshal(map[string]string{"auth": login}); err != nil {
		return err
	}
	if config["auths"], err = json.Marshal(auths); err != nil {
		return err
	}
	text, err := json.MarshalIndent(config, "", "\t")
	if err != nil {
		return err
	}
	return atomicfile.Write(path, append(text, '\n'), 0o600)
}

func readDockerConfig(path, host string) (config, auths map[string]json.RawMessage, err error) {
	config, auths = map[string]json.RawMessage{}, map[string]json.RawMessage{}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return config, auths, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if json.Unmarshal(text, &config) != nil || config == nil {
		return nil, nil, usagef("%s is not a docker configuration: it must be a JSON object", path)
	}
	var helpers map[string]string
	_ = json.Unmarshal(config["credHelpers"], &helpers) // docker, too, ignores them in another form
	if store, ok := config["credsStore"]; ok && string(store) != `""` || helpers[host] != "" {
		return nil, nil, usagef("%s stores logins in a credential store (credsStore, credHelpers), so docker would not find this one in the file: name another file", path)
	}
	if old, ok := config["auths"]; ok && (json.Unmarshal(old, &auths) != nil || auths == nil) {
		return nil, nil, usagef("%s is not a docker configuration: auths must be a JSON object", path)
	}
	return config, auths, nil
}
