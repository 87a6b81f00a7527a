package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
)

const (
	frameTime  = time.Second / 15
	soundTime  = 20 * time.Millisecond
	soundEvery = 200.0
	// Default, without a context.
	handshakeWithin = 30 * time.Second
	// An Opus packet of silence is shorter than a packet of a tone.
	loudFromBytes = 20
)

type participant struct {
	command
	frames     string
	signaling  *signaling
	publishing *webrtc.PeerConnection
	watching   *webrtc.PeerConnection
	ended      chan struct{}
	mutex      sync.Mutex
	trackByMid map[string]string
}

func newParticipant(of command, frames string) *participant {
	return &participant{command: of, frames: frames, ended: make(chan struct{}), trackByMid: map[string]string{}}
}

func (p *participant) join() error {
	pass, err := token(p.command)
	if err != nil {
		return err
	}
	if p.signaling, err = connect(p.command); err != nil {
		return err
	}
	go p.subscribe()
	say(p.As, "joining", nil)
	if _, err = p.signaling.request("join", fields{"token": pass}); err != nil {
		return err
	}
	if p.Publish == "" {
		return nil
	}
	return p.publish()
}

func (p *participant) leave() {
	close(p.ended)
	if p.signaling != nil {
		_, _ = p.signaling.request("leave", nil)
		_ = p.signaling.socket.Close()
	}
	p.mutex.Lock()
	connections := []*webrtc.PeerConnection{p.publishing, p.watching}
	p.mutex.Unlock()
	for _, connection := range connections {
		if connection != nil {
			_ = connection.Close()
		}
	}
	say(p.As, "left", nil)
}

func (p *participant) connection(name string) (*webrtc.PeerConnection, error) {
	settings := webrtc.SettingEngine{}
	// Called before the handshake.
	settings.SetDTLSConnectContextMaker(func() (context.Context, func()) {
		time.Sleep(time.Duration(p.DTLSAfterMs) * time.Millisecond)
		return context.WithTimeout(context.Background(), handshakeWithin)
	})
	connection, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, err
	}
	connection.OnICEConnectionStateChange(func(state webrtc.ICEConnectionState) {
		if state == webrtc.ICEConnectionStateConnected {
			say(p.As, "ice", fields{"pc": name})
		}
	})
	connection.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		switch state {
		case webrtc.PeerConnectionStateConnected:
			say(p.As, "dtls", fields{"pc": name})
		case webrtc.PeerConnectionStateFailed:
			say(p.As, "error", fields{"text": fmt.Sprintf("the %s connection failed (ICE is %s)", name, connection.ICEConnectionState())})
		}
	})
	return connection, nil
}

func describe(connection *webrtc.PeerConnection, description webrtc.SessionDescription) (string, error) {
	gathered := webrtc.GatheringCompletePromise(connection)
	if err := connection.SetLocalDescription(description); err != nil {
		return "", err
	}
	<-gathered
	return connection.LocalDescription().SDP, nil
}

func (p *participant) publish() error {
	connection, err := p.connection("publish")
	if err != nil {
		return err
	}
	p.mutex.Lock()
	p.publishing = connection
	p.mutex.Unlock()
	mimeType := map[string]string{"vp8": webrtc.MimeTypeVP8, "h264": webrtc.MimeTypeH264}[p.Publish]
	video, err := p.add("video", webrtc.RTPCodecCapability{MimeType: mimeType})
	if err != nil {
		return err
	}
	audio, err := p.add("audio", webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus})
	if err != nil {
		return err
	}
	offer, err := connection.CreateOffer(nil)
	if err != nil {
		return err
	}
	sdp, err := describe(connection, offer)
	if err != nil {
		return err
	}
	tracks := []track{}
	kinds := map[string]string{}
	for _, transceiver := range connection.GetTransceivers() {
		kind := transceiver.Kind().String()
		kinds[transceiver.Mid()] = kind
		tracks = append(tracks, track{Mid: transceiver.Mid(), Kind: kind, Source: map[string]string{"audio": "microphone", "video": "camera"}[kind]})
	}
	answer, err := p.signaling.request("offer", fields{"sdp": sdp, "tracks": tracks})
	if err != nil {
		return err
	}
	if err = connection.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer.SDP}); err != nil {
		return err
	}
	for index := range answer.Tracks {
		answer.Tracks[index].Kind = kinds[answer.Tracks[index].Mid]
	}
	say(p.As, "published", fields{"tracks": answer.Tracks})
	asked := make(chan struct{}, 1)
	go p.listen(video.Sender(), asked)
	go p.listen(audio.Sender(), nil)
	go p.play(p.Publish, video, frameTime, asked)
	go p.play("opus", audio, soundTime, nil)
	return nil
}

func (p *participant) add(kind string, codec webrtc.RTPCodecCapability) (*webrtc.RTPTransceiver, error) {
	local, err := webrtc.NewTrackLocalStaticSample(codec, kind, p.As)
	if err != nil {
		return nil, err
	}
	return p.publishing.AddTransceiverFromTrack(local, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
}

// Sends the frames of a file in a loop; starts again at a keyframe request.
func (p *participant) play(name string, through *webrtc.RTPTransceiver, each time.Duration, asked chan struct{}) {
	frames, err := readFrames(filepath.Join(p.frames, name+".frames"))
	if err != nil {
		say(p.As, "error", fields{"text": err.Error()})
		return
	}
	local := through.Sender().Track().(*webrtc.TrackLocalStaticSample)
	due := time.NewTicker(each)
	defer due.Stop()
	for index := 0; ; index++ {
		select {
		case <-p.ended:
			return
		case <-asked:
			index = 0
		case <-due.C:
		}
		_ = local.WriteSample(media.Sample{Data: frames[index%len(frames)], Duration: each})
	}
}

func readFrames(path string) ([][]byte, error) {
	data, err := os.ReadFile(path)
	frames := [][]byte{}
	for len(data) >= 4 {
		length := int(binary.BigEndian.Uint32(data))
		frames = append(frames, data[4:4+length])
		data = data[4+length:]
	}
	return frames, err
}

// Reads RTCP, so that interceptors get it; reports keyframe requests.
func (p *participant) listen(sender *webrtc.RTPSender, asked chan struct{}) {
	for {
		packets, _, err := sender.ReadRTCP()
		if err != nil {
			return
		}
		for _, packet := range packets {
			switch packet.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				say(p.As, "keyframe_request", nil)
				select {
				case asked <- struct{}{}:
				default:
				}
			}
		}
	}
}

func (p *participant) subscribe() {
	for offer := range p.signaling.offers {
		if err := p.answer(offer); err != nil {
			say(p.As, "error", fields{"text": err.Error()})
		}
	}
}

func (p *participant) answer(offer message) error {
	p.mutex.Lock()
	connection := p.watching
	p.trackByMid = map[string]string{}
	for _, each := range offer.Tracks {
		p.trackByMid[each.Mid] = each.Track
	}
	p.mutex.Unlock()
	if connection == nil {
		var err error
		if connection, err = p.connection("subscribe"); err != nil {
			return err
		}
		p.mutex.Lock()
		p.watching = connection
		p.mutex.Unlock()
		connection.OnTrack(p.watch)
	}
	if err := connection.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer.SDP}); err != nil {
		return err
	}
	answer, err := connection.CreateAnswer(nil)
	if err != nil {
		return err
	}
	sdp, err := describe(connection, answer)
	if err != nil {
		return err
	}
	_, err = p.signaling.request("answer", fields{"revision": offer.Revision, "sdp": sdp})
	if err != nil && !strings.Contains(err.Error(), "stale_answer") {
		return err
	}
	say(p.As, "subscribed", fields{"tracks": offer.Tracks})
	return nil
}

func (p *participant) watch(remote *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
	mid := ""
	for _, transceiver := range p.watching.GetTransceivers() {
		if transceiver.Receiver() == receiver {
			mid = transceiver.Mid()
		}
	}
	playing := func() string {
		p.mutex.Lock()
		defer p.mutex.Unlock()
		return p.trackByMid[mid]
	}
	if remote.Kind() == webrtc.RTPCodecTypeAudio {
		p.hear(remote, playing)
		return
	}
	frames := newAssembler(remote.Codec().MimeType)
	for {
		packet, _, err := remote.ReadRTP()
		if err != nil {
			return
		}
		complete, isLost := frames.push(packet, nowMs())
		for range complete {
			say(p.As, "frame", fields{"track": playing()})
		}
		if isLost {
			_ = p.watching.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(remote.SSRC())}})
		}
	}
}

func (p *participant) hear(remote *webrtc.TrackRemote, playing func() string) {
	packets, isLoud, last := 0, false, 0.0
	for {
		packet, _, err := remote.ReadRTP()
		if err != nil {
			return
		}
		if len(packet.Payload) == 0 {
			continue
		}
		packets++
		isLoud = isLoud || len(packet.Payload) >= loudFromBytes
		if now := nowMs(); now-last >= soundEvery {
			say(p.As, "sound", fields{"track": playing(), "packets": packets, "loud": isLoud, "at": now})
			packets, isLoud, last = 0, false, now
		}
	}
}
