package web

// Routes returns the paths of the handlers, and whether they need credentials.
func (h Handlers) Routes() map[string]bool {
	routes := make(map[string]bool)
	for _, r := range h.routes() {
		routes[r.path] = r.authenticated
	}
	return routes
}
