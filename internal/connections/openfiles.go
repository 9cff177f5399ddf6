package connections

// The limit of open files is divided between the connections, the requests, and what
// the process itself needs. A connection is one file; a request for images opens up to
// two more files, and an HTTP/2 connection has up to 16 requests. So both are limited:
// a client must not leave the database without files.

const (
	defaultConnections = 4096
	manyFiles          = 1 << 20
	reservedFiles      = 64 // for the database, the log, the listeners and the probes
)

// Max returns how many connections the process can have open: half of the
// files that are not reserved. openFiles is the limit of open files, 0 if there is
// none.
func Max(openFiles uint64) int {
	if openFiles == 0 {
		return defaultConnections
	}
	return max(1, min(defaultConnections, freeFiles(openFiles)/2))
}

// FilesLeft returns how many files, at least one, the process can have open for requests
// while it has so many connections. It is 0, for no limit, if openFiles is.
func FilesLeft(openFiles uint64, connections int) int {
	if openFiles == 0 {
		return 0
	}
	return max(1, freeFiles(openFiles)-connections)
}

// freeFiles returns how many of the open files are not reserved: half, if they are
// few. More than manyFiles are not needed.
func freeFiles(openFiles uint64) int {
	files := int(min(openFiles, manyFiles))
	return files - min(reservedFiles, files/2)
}
