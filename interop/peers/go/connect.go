package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// connect makes one or more connections, one line about each.
func connect(args []string) error {
	set := flags("connect")
	address := set.String("address", "", "HOST:PORT")
	name := set.String("name", "", "server name, hidden when -ech is given")
	roots := set.String("ca", "", "PEM file of trusted roots")
	ech := set.String("ech", "", "ECHConfigList in base64")
	retry := set.Bool("retry", false, "after a rejection with retry_configs, connect once more with them")
	times := set.Int("times", 1, "connections, sharing one session cache")
	groups := set.String("curves", "", "comma separated: x25519, p256, p384, p521, mlkem")
	alpn := set.String("alpn", "http/1.1", "comma separated")
	highest := set.String("max-version", "1.3", "1.2 or 1.3")
	request := set.Bool("get", false, "send GET / over HTTP/1.1 and report the body")
	set.Parse(args)

	config, err := baseConfig(*groups, *alpn, *highest)
	if err != nil {
		return err
	}
	config.ServerName = *name
	config.ClientSessionCache = tls.NewLRUClientSessionCache(16)
	if *ech != "" {
		if config.EncryptedClientHelloConfigList, err = base64.StdEncoding.DecodeString(*ech); err != nil {
			return err
		}
	}
	pem, err := os.ReadFile(*roots)
	if err != nil {
		return err
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("no certificate in %s", *roots)
	}
	for range *times {
		out, again := attempt(*address, config, *request)
		say(out)
		if again != nil && *retry {
			config.EncryptedClientHelloConfigList = again
			out, _ = attempt(*address, config, *request)
			say(out)
		}
	}
	return nil
}

// attempt makes one connection, and gives the retry_configs of a rejection.
func attempt(address string, config *tls.Config, request bool) (outcome, []byte) {
	plain, err := net.DialTimeout("tcp", address, handshakeLimit)
	if err != nil {
		return outcome{Event: "connection", Error: err.Error()}, nil
	}
	defer plain.Close()
	plain.SetDeadline(time.Now().Add(handshakeLimit))
	conn := tls.Client(plain, config)
	err = conn.HandshakeContext(context.Background())
	body := ""
	if err == nil && request {
		body, err = get(conn, config.ServerName)
	}
	out := describe("connection", conn.ConnectionState(), err)
	out.Body = body
	var rejection *tls.ECHRejectionError
	if errors.As(err, &rejection) {
		out.Rejected = true
		out.RetryConfigs = base64.StdEncoding.EncodeToString(rejection.RetryConfigList)
		return out, rejection.RetryConfigList
	}
	return out, nil
}

// get fetches "/", which also reads the session tickets that follow the handshake.
func get(conn *tls.Conn, host string) (string, error) {
	call, err := http.NewRequest("GET", "https://"+host+"/", nil)
	if err != nil {
		return "", err
	}
	call.Close = true
	if err := call.Write(conn); err != nil {
		return "", err
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), call)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}
