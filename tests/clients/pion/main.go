// Participants with pion. Commands and events are those of ../python/participant.py.
//
// A join command may have "dtls_after_ms": the DTLS handshake starts this long after ICE, like on a
// slow device.
//
// pion has no encoders, so published media is read from files. Received frames are reassembled, but
// not decoded.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

type command struct {
	Do          string `json:"do"`
	As          string `json:"as"`
	URL         string `json:"url"`
	Room        string `json:"room"`
	Publish     string `json:"publish"`
	DTLSAfterMs int    `json:"dtls_after_ms"`
}

type fields map[string]any

var output sync.Mutex

func nowMs() float64 {
	return float64(time.Now().UnixMicro()) / 1000
}

// Prints an event.
func say(identity, event string, more fields) {
	line := fields{"as": identity, "event": event, "at": nowMs()}
	for name, value := range more {
		line[name] = value
	}
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	output.Lock()
	defer output.Unlock()
	fmt.Printf("%s\n", text)
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: pion DIRECTORY-OF-FRAMES")
		os.Exit(2)
	}
	participants := map[string]*participant{}
	say("", "ready", nil)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var of command
		if err := json.Unmarshal(lines.Bytes(), &of); err != nil {
			say("", "error", fields{"text": err.Error()})
			continue
		}
		switch of.Do {
		case "join":
			joining := newParticipant(of, os.Args[1])
			participants[of.As] = joining
			if err := joining.join(); err != nil {
				say(of.As, "error", fields{"text": err.Error()})
			}
		case "leave":
			if leaving := participants[of.As]; leaving != nil {
				delete(participants, of.As)
				leaving.leave()
			}
		}
	}
	for _, leaving := range participants {
		leaving.leave()
	}
}
