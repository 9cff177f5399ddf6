package web

// Paths returns the paths of the handlers.
func (h Handlers) Paths() []string {
	var paths []string
	for _, r := range h.routes() {
		paths = append(paths, r.path)
	}
	return paths
}
