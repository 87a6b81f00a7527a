package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const replyWithin = 15 * time.Second

type track struct {
	Mid    string `json:"mid"`
	Kind   string `json:"kind,omitempty"`
	Source string `json:"source,omitempty"`
	Track  string `json:"track,omitempty"`
}

type message struct {
	Type     string  `json:"type"`
	ID       int     `json:"id"`
	SDP      string  `json:"sdp"`
	Revision int     `json:"revision"`
	Tracks   []track `json:"tracks"`
	Code     string  `json:"code"`
	Message  string  `json:"message"`
}

// The WebSocket of one participant (docs/protocol.md).
type signaling struct {
	socket  *websocket.Conn
	mutex   sync.Mutex
	lastID  int
	replies map[int]chan message
	offers  chan message
}

func token(of command) (string, error) {
	query := url.Values{"room": {of.Room}, "identity": {of.As}, "name": {of.As}}
	client := http.Client{Timeout: replyWithin}
	reply, err := client.Get(of.URL + "/v1/demo/token?" + query.Encode())
	if err != nil {
		return "", err
	}
	defer reply.Body.Close()
	var body struct {
		Token string `json:"token"`
	}
	err = json.NewDecoder(reply.Body).Decode(&body)
	return body.Token, err
}

func connect(of command) (*signaling, error) {
	socket, _, err := websocket.DefaultDialer.Dial(strings.Replace(of.URL, "http", "ws", 1)+"/v1/signal", nil)
	if err != nil {
		return nil, err
	}
	connected := &signaling{socket: socket, replies: map[int]chan message{}, offers: make(chan message, 64)}
	go connected.read(of.As)
	return connected, nil
}

func (s *signaling) read(identity string) {
	defer close(s.offers)
	for {
		_, text, err := s.socket.ReadMessage()
		if err != nil {
			return
		}
		var received message
		// Fields of messages that are ignored may have other types.
		_ = json.Unmarshal(text, &received)
		s.mutex.Lock()
		reply := s.replies[received.ID]
		delete(s.replies, received.ID)
		s.mutex.Unlock()
		switch {
		case reply != nil:
			reply <- received
		case received.Type == "offer":
			s.offers <- received
		case received.Type == "error" || received.Type == "closing" || received.Type == "media":
			say(identity, "error", fields{"text": string(text)})
		}
	}
}

func (s *signaling) request(kind string, with fields) (message, error) {
	reply := make(chan message, 1)
	body := fields{"type": kind}
	for name, value := range with {
		body[name] = value
	}
	s.mutex.Lock()
	s.lastID++
	body["id"] = s.lastID
	s.replies[s.lastID] = reply
	err := s.socket.WriteJSON(body)
	s.mutex.Unlock()
	if err != nil {
		return message{}, err
	}
	select {
	case received := <-reply:
		if received.Type == "error" {
			return received, fmt.Errorf("%s was refused: %s: %s", kind, received.Code, received.Message)
		}
		return received, nil
	case <-time.After(replyWithin):
		return message{}, fmt.Errorf("no reply to %s within %s", kind, replyWithin)
	}
}
