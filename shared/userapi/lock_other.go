//go:build !unix

package userapi

import "os"

// lock does nothing: the content is checked in any case.
func lock(*os.File) error { return nil }
