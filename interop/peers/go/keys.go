package main

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/hpke"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// The PEM labels of RFC 9934.
const (
	labelPrivateKey = "PRIVATE KEY"
	labelECHConfig  = "ECHCONFIG"
)

// HPKE identifiers of RFC 9180 section 7.1 that have an ecdh curve, by the name used on the command line.
var curves = map[string]struct {
	kem   uint16
	curve ecdh.Curve
}{
	"x25519": {0x0020, ecdh.X25519()},
	"p256":   {0x0010, ecdh.P256()},
	"p384":   {0x0011, ecdh.P384()},
	"p521":   {0x0012, ecdh.P521()},
}

// generated is what gen prints: a key in every form that somebody may want.
type generated struct {
	Config     string `json:"config"`      // hex, one ECHConfig
	List       string `json:"list"`        // base64, an ECHConfigList of it
	PrivateKey string `json:"private_key"` // hex, HPKE's SerializePrivateKey
}

// gen makes one ECH key, prints it as JSON and writes it as an RFC 9934 file.
func gen(args []string) error {
	set := flags("gen")
	kem := set.String("kem", "x25519", "x25519, p256, p384, p521 or xwing")
	id := set.Uint("id", 1, "config_id")
	name := set.String("public-name", "public.example", "public_name")
	longest := set.Uint("max-name", 0, "maximum_name_length")
	suites := set.String("suites", "1:1", "KDF:AEAD pairs, comma separated")
	out := set.String("out", "", "file to write in the form of RFC 9934 (not for xwing)")
	set.Parse(args)

	number, public, private, pkcs8, err := newKey(*kem)
	if err != nil {
		return err
	}
	config, err := encodeConfig(uint8(*id), number, public, *suites, uint8(*longest), *name)
	if err != nil {
		return err
	}
	whole := encodeList(config)
	if *out != "" {
		if pkcs8 == nil {
			return errors.New("this KEM has no PKCS#8 form here; use the JSON")
		}
		text := pem.EncodeToMemory(&pem.Block{Type: labelPrivateKey, Bytes: pkcs8})
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: labelECHConfig, Bytes: whole})...)
		if err := os.WriteFile(*out, text, 0o600); err != nil {
			return err
		}
	}
	say(generated{hex.EncodeToString(config), base64.StdEncoding.EncodeToString(whole), hex.EncodeToString(private)})
	return nil
}

// list joins the configs of RFC 9934 files into one ECHConfigList and prints it in base64.
func list(args []string) error {
	set := flags("list")
	set.Parse(args)
	var configs [][]byte
	for _, path := range set.Args() {
		keys, err := readKeyFile(path, false)
		if err != nil {
			return err
		}
		for _, key := range keys {
			configs = append(configs, key.Config)
		}
	}
	say(map[string]string{"list": base64.StdEncoding.EncodeToString(encodeList(configs...))})
	return nil
}

func newKey(name string) (kem uint16, public, private, pkcs8 []byte, err error) {
	if name == "xwing" {
		hybrid := hpke.MLKEM768X25519()
		key, err := hybrid.GenerateKey()
		if err != nil {
			return 0, nil, nil, nil, err
		}
		private, err = key.Bytes()
		return hybrid.ID(), key.PublicKey().Bytes(), private, nil, err
	}
	known, ok := curves[name]
	if !ok {
		return 0, nil, nil, nil, fmt.Errorf("unknown KEM %q", name)
	}
	key, err := known.curve.GenerateKey(rand.Reader)
	if err != nil {
		return 0, nil, nil, nil, err
	}
	pkcs8, err = x509.MarshalPKCS8PrivateKey(key)
	return known.kem, key.PublicKey().Bytes(), key.Bytes(), pkcs8, err
}

// encodeConfig writes an ECHConfig (RFC 9849 section 4).
func encodeConfig(id uint8, kem uint16, public []byte, suites string, longest uint8, name string) ([]byte, error) {
	var pairs []byte
	for pair := range strings.SplitSeq(suites, ",") {
		kdf, aead, found := strings.Cut(pair, ":")
		if !found {
			return nil, fmt.Errorf("suite %q is not KDF:AEAD", pair)
		}
		for _, part := range []string{kdf, aead} {
			value, err := strconv.ParseUint(part, 0, 16)
			if err != nil {
				return nil, err
			}
			pairs = binary.BigEndian.AppendUint16(pairs, uint16(value))
		}
	}
	contents := []byte{id}
	contents = binary.BigEndian.AppendUint16(contents, kem)
	contents = append(binary.BigEndian.AppendUint16(contents, uint16(len(public))), public...)
	contents = append(binary.BigEndian.AppendUint16(contents, uint16(len(pairs))), pairs...)
	contents = append(contents, longest, uint8(len(name)))
	contents = append(contents, name...)
	contents = append(contents, 0, 0)
	config := binary.BigEndian.AppendUint16([]byte{0xfe, 0x0d}, uint16(len(contents)))
	return append(config, contents...), nil
}

// encodeList writes an ECHConfigList: the configs behind their total length.
func encodeList(configs ...[]byte) []byte {
	var all []byte
	for _, config := range configs {
		all = append(all, config...)
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(all))), all...)
}

// splitList gives the encoded configs of an ECHConfigList.
func splitList(whole []byte) ([][]byte, error) {
	broken := errors.New("malformed ECHConfigList")
	if len(whole) < 2 || int(binary.BigEndian.Uint16(whole)) != len(whole)-2 {
		return nil, broken
	}
	var configs [][]byte
	for rest := whole[2:]; len(rest) > 0; {
		if len(rest) < 4 || len(rest)-4 < int(binary.BigEndian.Uint16(rest[2:])) {
			return nil, broken
		}
		end := 4 + int(binary.BigEndian.Uint16(rest[2:]))
		configs, rest = append(configs, rest[:end]), rest[end:]
	}
	return configs, nil
}

// readKeyFile reads an RFC 9934 file. Its private key belongs to each of its configs.
func readKeyFile(path string, retry bool) ([]tls.EncryptedClientHelloKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var private []byte
	var keys []tls.EncryptedClientHelloKey
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case labelPrivateKey:
			if private, err = rawPrivateKey(block.Bytes); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
		case labelECHConfig:
			configs, err := splitList(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			for _, config := range configs {
				keys = append(keys, tls.EncryptedClientHelloKey{Config: config, SendAsRetry: retry})
			}
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: no %s block", path, labelECHConfig)
	}
	for i := range keys {
		keys[i].PrivateKey = private
	}
	return keys, nil
}

// rawPrivateKey turns PKCS#8 into the serialized form of RFC 9180 section 7.1.2.
func rawPrivateKey(der []byte) ([]byte, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	switch key := key.(type) {
	case *ecdh.PrivateKey:
		return key.Bytes(), nil
	case *ecdsa.PrivateKey:
		converted, err := key.ECDH()
		if err != nil {
			return nil, err
		}
		return converted.Bytes(), nil
	}
	return nil, fmt.Errorf("a %T is no ECH key", key)
}

// rawKey reads CONFIG:PRIVATE, both in hex, for keys without a PKCS#8 form.
func rawKey(text string, retry bool) (tls.EncryptedClientHelloKey, error) {
	left, right, found := strings.Cut(text, ":")
	config, err := hex.DecodeString(left)
	private, err2 := hex.DecodeString(right)
	if !found || err != nil || err2 != nil {
		return tls.EncryptedClientHelloKey{}, errors.New("-raw-key wants CONFIG:PRIVATE in hex")
	}
	return tls.EncryptedClientHelloKey{Config: config, PrivateKey: private, SendAsRetry: retry}, nil
}
