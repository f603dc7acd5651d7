// The module of BoringSSL's test runner, as interop/peers/build lays it out: golang.org/x comes from
// the Go toolchain's own copy, completed by the packages under x/.
module boringssl.googlesource.com/boringssl.git

go 1.27

require (
	golang.org/x/crypto v0.0.0
	golang.org/x/sys v0.0.0
	golang.org/x/term v0.0.0
)

replace (
	golang.org/x/crypto => ./x/crypto
	golang.org/x/sys => ./x/sys
	golang.org/x/term => ./x/term
)
