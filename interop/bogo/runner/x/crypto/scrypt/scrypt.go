// Package scrypt takes the place of golang.org/x/crypto/scrypt, which the Go toolchain does not hold.
// The runner calls it in its tests of password-authenticated key exchange alone, an extension of
// BoringSSL that the shim declines before a connection is made.
package scrypt

import "errors"

// Key fails: this build of the runner has no scrypt.
func Key(password, salt []byte, n, r, p, length int) ([]byte, error) {
	return nil, errors.New("scrypt is not part of this build of the runner")
}
