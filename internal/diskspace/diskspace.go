// Package diskspace says how much room a file system has, and whether an error
// came of a full one.
package diskspace
