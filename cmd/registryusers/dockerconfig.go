package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/atomicfile"
)

// checkDockerConfig refuses, before a user is made for it, a file that could
// not take its login.
func checkDockerConfig(path, host, name string) error {
	if name == "" {
		return usagef("a user with the empty name logs in as REGISTRY+, which is not known here: --docker-config cannot be used")
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return usagef("--docker-config: %w", err)
	}
	_, _, err := readDockerConfig(path, host)
	return err
}

// addLogin adds a login to a docker configuration file, and leaves all else in it.
func addLogin(path, host, name string, secret registryusers.Secret) error {
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
	_ = json.Unmarshal(config["credHelpers"], &helpers) // of another form, docker does not read them either
	if store, ok := config["credsStore"]; ok && string(store) != `""` || helpers[host] != "" {
		return nil, nil, usagef("%s keeps its logins in a credential store (credsStore, credHelpers), where docker would not look for this one: name another file", path)
	}
	if old, ok := config["auths"]; ok && (json.Unmarshal(old, &auths) != nil || auths == nil) {
		return nil, nil, usagef("%s is not a docker configuration: auths must be a JSON object", path)
	}
	return config, auths, nil
}
