package main

import (
	"strings"

	"github.com/pion/rtp"
)

const (
	// After this time a missing packet counts as lost, and a keyframe is requested.
	giveUpMs   = 300
	askAgainMs = 500
)

// Reorders packets and counts displayable frames: complete, and without a gap since a keyframe.
type assembler struct {
	isH264    bool
	packets   map[uint16]*rtp.Packet
	isStarted bool
	next      uint16
	// Time since which `next` is missing; 0: it is not missing.
	missingMs float64
	askedMs   float64
	isShown   bool // the picture is complete: no frame was lost since the last keyframe
	isWhole   bool // no packet of the current frame is missing so far
	isKey     bool // the current frame is a keyframe
	isBegun   bool // at least one packet of the current frame was read
}

func newAssembler(mimeType string) *assembler {
	return &assembler{isH264: strings.EqualFold(mimeType, "video/h264"), packets: map[uint16]*rtp.Packet{}, isWhole: true}
}

// Adds a packet. Returns the number of frames it completes, and whether a keyframe is needed.
func (a *assembler) push(packet *rtp.Packet, nowMs float64) (frames int, isLost bool) {
	if !a.isStarted {
		// The first keyframe comes without a request.
		a.isStarted, a.next, a.askedMs = true, packet.SequenceNumber, nowMs
	}
	if int16(packet.SequenceNumber-a.next) >= 0 {
		a.packets[packet.SequenceNumber] = packet
	}
	for {
		frames += a.read()
		if len(a.packets) == 0 {
			a.missingMs = 0
			break
		}
		if a.missingMs == 0 {
			a.missingMs = nowMs
		}
		if nowMs-a.missingMs < giveUpMs {
			break
		}
		a.skip()
	}
	if !a.isShown && nowMs-a.askedMs >= askAgainMs {
		a.askedMs, isLost = nowMs, true
	}
	return frames, isLost
}

// Reads the available packets in order.
func (a *assembler) read() (frames int) {
	for {
		packet, isThere := a.packets[a.next]
		if !isThere {
			return frames
		}
		delete(a.packets, a.next)
		a.next++
		a.missingMs = 0
		if len(packet.Payload) == 0 {
			continue
		}
		if !a.isBegun {
			a.isKey = false
		}
		a.isBegun = true
		a.isKey = a.isKey || a.isKeyframe(packet.Payload)
		if !packet.Marker {
			continue
		}
		a.isShown = a.isWhole && (a.isShown || a.isKey)
		if a.isShown {
			frames++
		}
		a.isWhole, a.isBegun = true, false
	}
}

// Continues after a gap.
func (a *assembler) skip() {
	for {
		a.next++
		if _, isThere := a.packets[a.next]; isThere {
			break
		}
	}
	a.missingMs = 0
	a.isShown, a.isWhole, a.isBegun = false, false, false
}

func (a *assembler) isKeyframe(payload []byte) bool {
	if a.isH264 {
		return isH264Keyframe(payload)
	}
	return isVP8Keyframe(payload)
}

// RFC 7741, 4.2 and 4.3.
func isVP8Keyframe(payload []byte) bool {
	const extended, start, pictureID, levelZero, temporal, longID = 0x80, 0x10, 0x80, 0x40, 0x30, 0x80
	if payload[0]&start == 0 || payload[0]&0x07 != 0 {
		return false
	}
	at := 1
	if payload[0]&extended != 0 && len(payload) > 2 {
		has := payload[1]
		at = 2
		if has&pictureID != 0 {
			if payload[at]&longID != 0 {
				at++
			}
			at++
		}
		if has&levelZero != 0 {
			at++
		}
		if has&temporal != 0 {
			at++
		}
	}
	return at < len(payload) && payload[at]&1 == 0
}

// RFC 6184, 5.2: an IDR, or parameter sets before one.
func isH264Keyframe(payload []byte) bool {
	const idr, sps, stapA, fuA, fuStart = 5, 7, 24, 28, 0x80
	switch kind := payload[0] & 0x1f; kind {
	case idr, sps:
		return true
	case stapA:
		return len(payload) > 3 && (payload[3]&0x1f == sps || payload[3]&0x1f == idr)
	case fuA:
		return len(payload) > 1 && payload[1]&fuStart != 0 && payload[1]&0x1f == idr
	}
	return false
}
