// Command goecho is the Go side of echkit's interop matrix: it makes ECH keys,
// serves and connects with nothing but Go's standard library, and says what it
// saw as JSON, one object a line.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sync"
)

func main() {
	commands := map[string]func([]string) error{
		"gen":     gen,
		"list":    list,
		"serve":   serve,
		"connect": connect,
	}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: goecho gen|list|serve|connect [flags]; -h after a command explains it")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "goecho:", err)
		os.Exit(1)
	}
}

// flags returns a flag set that ends the program on a bad flag.
func flags(name string) *flag.FlagSet {
	return flag.NewFlagSet(name, flag.ExitOnError)
}

// many is a flag that may be given several times.
type many []string

func (m *many) String() string     { return fmt.Sprint(*m) }
func (m *many) Set(v string) error { *m = append(*m, v); return nil }

var output sync.Mutex

// say prints one JSON object as a line of its own.
func say(value any) {
	line, err := json.Marshal(value)
	if err != nil {
		line = []byte(fmt.Sprintf("{\"error\":%q}", err))
	}
	output.Lock()
	defer output.Unlock()
	os.Stdout.Write(append(line, '\n'))
}
