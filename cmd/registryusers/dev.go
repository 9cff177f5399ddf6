package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/registryusers/registryusers"
	"github.com/registryusers/registryusers/internal/accounts"
	"github.com/registryusers/registryusers/internal/app/images"
)

// dev creates a registry and an API key for trying the server, and prints how to use
// them.
func (o *serveOptions) dev(ctx context.Context, a *images.App, base string, stdout io.Writer) error {
	file, err := a.Dev(ctx, base)
	if err != nil {
		return err
	}
	text, err := devText(ctx, a.Accounts, o.data, file, o.images.Images)
	return printLine(stdout, err, text)
}

// devText returns command lines for trying the server. They can be pasted one after
// the other, in any directory, and use names that no user has. hasRegistry says that
// this server stores images.
func devText(ctx context.Context, a *accounts.Service, directory string, file images.DevFile, hasRegistry bool) (string, error) {
	names, err := freeNames(ctx, a, accounts.RegistryRef{ProjectID: file.ProjectID, RegionID: file.RegionID, RegistryID: file.RegistryID}, 2)
	if err != nil {
		return "", err
	}
	program, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("the path of this program is unknown: %w", err)
	}
	data, err := filepath.Abs(directory)
	if err != nil {
		return "", err
	}
	base, err := url.Parse(file.URL)
	if err != nil {
		return "", err
	}
	create := fmt.Sprintf("%s user create %s --data %s --days 14", quoted(program), names[1], quoted(data))
	if base.Scheme == "http" && !isLoopback(base.Hostname()) {
		create += " --insecure-http"
	}
	var b strings.Builder
	fmt.Fprintf(&b, `Serving %s with a registry %q. To create a user in it:

  curl -sS %s -H 'Authorization: apikey %s' -H 'Content-Type: application/json' -d '{"name":"%s","duration":14}'

`, file.URL, images.DevRegistry, file.UsersURL(), file.APIKey, names[0])
	if hasRegistry {
		image := base.Host + "/" + accounts.Namespace(file.ProjectID, file.RegionID, images.DevRegistry) + "/hello-world"
		fmt.Fprintf(&b, `To create another with the command line, log in with its secret, and push an image:

  %s --secret-only | docker login %s -u %s --password-stdin
  docker pull hello-world
  docker tag hello-world %[4]s
  docker push %[4]s

`, create, base.Host, names[1], image)
	} else {
		fmt.Fprintf(&b, "To create another with the command line:\n\n  %s\n\n", create)
	}
	fmt.Fprintf(&b, "The address and the API key are in %s.", filepath.Join(data, images.DevFileName))
	return b.String(), nil
}

// freeNames returns names that no user of the registry has: user1, user2, and so on.
func freeNames(ctx context.Context, service *accounts.Service, ref accounts.RegistryRef, count int) ([]string, error) {
	const most = 100 // after that, random names save queries
	var names []string
	for i := 1; len(names) < count; i++ {
		name := fmt.Sprintf("user%d", i)
		if i > most {
			name = "user" + strings.ToLower(rand.Text()[:8])
		}
		_, err := service.User(ctx, accounts.Administrator, ref, name)
		if errors.Is(err, registryusers.ErrUserNotFound) {
			names = append(names, name)
		} else if err != nil {
			return nil, err
		}
	}
	return names, nil
}

// quoted returns text quoted as one word for a shell.
func quoted(text string) string {
	if plainWord.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

var plainWord = regexp.MustCompile(`^[-0-9A-Za-z_./:@+]+$`)
