// Package registryusers holds what its subpackages share: the API's errors
// and the types that carry secrets.
//
//   - Package client calls the API.
//   - Package server serves the API with your implementation.
//   - Command registryusers is the API and a container registry in one binary.
package registryusers
