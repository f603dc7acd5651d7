package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"
)

// handshakeLimit ends a handshake that nobody drives on; far above what any machine needs.
const handshakeLimit = 60 * time.Second

// outcome is what one side knows about one finished or failed connection.
type outcome struct {
	Event        string `json:"event"`
	ECHAccepted  bool   `json:"ech_accepted"`
	ServerName   string `json:"server_name"`
	Version      string `json:"version"`
	ALPN         string `json:"alpn"`
	Resumed      bool   `json:"resumed"`
	HelloRetry   bool   `json:"hello_retry"`
	Curve        string `json:"curve"`
	Rejected     bool   `json:"rejected"`
	RetryConfigs string `json:"retry_configs,omitempty"`
	Body         string `json:"body,omitempty"`
	Error        string `json:"error,omitempty"`
}

func describe(event string, state tls.ConnectionState, err error) outcome {
	out := outcome{
		Event:       event,
		ECHAccepted: state.ECHAccepted,
		ServerName:  state.ServerName,
		Version:     tls.VersionName(state.Version),
		ALPN:        state.NegotiatedProtocol,
		Resumed:     state.DidResume,
		HelloRetry:  state.HelloRetryRequest,
		Curve:       state.CurveID.String(),
	}
	if err != nil {
		out.Error = err.Error()
	}
	return out
}

// serve answers HTTP over TLS and tells of every handshake.
func serve(args []string) error {
	set := flags("serve")
	var certificates, keyFiles, decryptOnly, raw many
	set.Var(&certificates, "cert", "CHAIN.pem,KEY.pem; several are chosen from by server name")
	set.Var(&keyFiles, "ech-key", "RFC 9934 file, sent in retry_configs")
	set.Var(&decryptOnly, "stale-key", "RFC 9934 file that opens hellos and is not sent in retry_configs")
	set.Var(&raw, "raw-key", "CONFIG:PRIVATE in hex, sent in retry_configs")
	listen := set.String("listen", "127.0.0.1:0", "address")
	groups := set.String("curves", "", "comma separated: x25519, p256, p384, p521, mlkem")
	alpn := set.String("alpn", "h2,http/1.1", "comma separated")
	highest := set.String("max-version", "1.3", "1.2 or 1.3")
	set.Parse(args)

	config, err := baseConfig(*groups, *alpn, *highest)
	if err != nil {
		return err
	}
	for _, pair := range certificates {
		chain, key, _ := strings.Cut(pair, ",")
		loaded, err := tls.LoadX509KeyPair(chain, key)
		if err != nil {
			return err
		}
		config.Certificates = append(config.Certificates, loaded)
	}
	for _, files := range []struct {
		paths many
		retry bool
	}{{keyFiles, true}, {decryptOnly, false}} {
		for _, path := range files.paths {
			keys, err := readKeyFile(path, files.retry)
			if err != nil {
				return err
			}
			config.EncryptedClientHelloKeys = append(config.EncryptedClientHelloKeys, keys...)
		}
	}
	for _, text := range raw {
		key, err := rawKey(text, true)
		if err != nil {
			return err
		}
		config.EncryptedClientHelloKeys = append(config.EncryptedClientHelloKeys, key)
	}

	socket, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	server := &http.Server{
		TLSConfig: config,
		Handler:   http.HandlerFunc(page),
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	say(map[string]string{"event": "listening", "address": socket.Addr().String()})
	return server.Serve(newGate(socket, config))
}

// page tells the visitor what the server saw.
func page(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "peer=go ech_accepted=%v server_name=%s resumed=%v version=TLSv%s protocol=%s\n",
		r.TLS.ECHAccepted, r.TLS.ServerName, r.TLS.DidResume,
		strings.TrimPrefix(tls.VersionName(r.TLS.Version), "TLS "), r.Proto)
}

// gate is a listener that hands on connections whose handshake is done and reported.
type gate struct {
	net.Listener
	ready chan net.Conn
	ended chan error
}

func newGate(socket net.Listener, config *tls.Config) *gate {
	g := &gate{socket, make(chan net.Conn), make(chan error, 1)}
	go func() {
		for {
			plain, err := socket.Accept()
			if err != nil {
				g.ended <- err
				return
			}
			go g.shake(tls.Server(plain, config))
		}
	}()
	return g
}

func (g *gate) shake(conn *tls.Conn) {
	limit, cancel := context.WithTimeout(context.Background(), handshakeLimit)
	defer cancel()
	err := conn.HandshakeContext(limit)
	say(describe("handshake", conn.ConnectionState(), err))
	if err != nil {
		conn.Close()
		return
	}
	g.ready <- conn
}

// Accept implements net.Listener.
func (g *gate) Accept() (net.Conn, error) {
	select {
	case conn := <-g.ready:
		return conn, nil
	case err := <-g.ended:
		return nil, err
	}
}

// baseConfig holds what serve and connect have in common.
func baseConfig(groups, alpn, highest string) (*tls.Config, error) {
	config := &tls.Config{}
	names := map[string]tls.CurveID{
		"x25519": tls.X25519, "p256": tls.CurveP256, "p384": tls.CurveP384,
		"p521": tls.CurveP521, "mlkem": tls.X25519MLKEM768,
	}
	for name := range strings.SplitSeq(groups, ",") {
		if name == "" {
			continue
		}
		id, ok := names[name]
		if !ok {
			return nil, fmt.Errorf("unknown curve %q", name)
		}
		config.CurvePreferences = append(config.CurvePreferences, id)
	}
	if alpn != "" {
		config.NextProtos = strings.Split(alpn, ",")
	}
	switch highest {
	case "1.2":
		config.MaxVersion = tls.VersionTLS12
	case "1.3":
		config.MaxVersion = tls.VersionTLS13
	default:
		return nil, errors.New("-max-version is 1.2 or 1.3")
	}
	return config, nil
}
