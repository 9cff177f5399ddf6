// Package registryusers holds what its subpackages share: the API's errors
// and the types that carry secrets.
//
//   - Package client calls the API.
//   - Package server serves it, over an implementation of your own.
//   - Command registryusers is the API and a container registry in one binary.
package registryusers
