// Package curve25519 has the part of golang.org/x/crypto/curve25519 that the runner's HPKE uses, on the
// standard library. The Go toolchain's copy of golang.org/x/crypto does not hold this package.
package curve25519

import (
	"bytes"
	"crypto/ecdh"
)

// ScalarSize is the length of a scalar.
const ScalarSize = 32

// Basepoint is the generator of X25519 (RFC 7748, section 4.1).
var Basepoint = append([]byte{9}, make([]byte, 31)...)

// X25519 multiplies a point by a scalar (RFC 7748, section 5). An all-zero result is an error.
func X25519(scalar, point []byte) ([]byte, error) {
	key, err := ecdh.X25519().NewPrivateKey(scalar)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(point, Basepoint) {
		return key.PublicKey().Bytes(), nil
	}
	peer, err := ecdh.X25519().NewPublicKey(point)
	if err != nil {
		return nil, err
	}
	return key.ECDH(peer)
}
