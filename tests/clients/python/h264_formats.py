"""SDP of a participant of aiortc that has H.264 in one format: the profile and the packetization mode are what its command names.

aiortc itself knows two profiles of packetization mode 1, and its decoder decodes all of them. So aiortc is always shown
its own format, and the server is shown the one that is named, under the same payload type.
"""

import re

# The format that aiortc supports.
OWN = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"
VP8, H264, RTX = "VP8", "H264", "rtx"


def published(sdp, wanted):
    """An offer of aiortc with its H.264 format replaced by `wanted`: {profile, mode, vp8}."""
    sections = split(sdp)
    for index in videos(sections):
        kept = [pt for pt in formats_of(sections[index], H264) if profile_of(sections[index], pt) == "42e01f"]
        if wanted["vp8"]:
            kept += formats_of(sections[index], VP8)
        section = with_formats(sections[index], kept)
        sections[index] = with_fmtp(section, kept[0], fmtp(wanted))
    return "".join(sections)


def publish_answer(sdp):
    """The answer to such an offer, rewritten for aiortc."""
    sections = split(sdp)
    for index in videos(sections):
        for pt in formats_of(sections[index], H264):
            sections[index] = with_fmtp(sections[index], pt, OWN)
    return "".join(sections)


class Viewer:
    """Takes one format of each video m-line, or what it names in `taken`: {codec, profile, mode, otherwise}.

    profile null: the answer has the first H.264 that is offered, and does not say which. Where the format is not offered:
    otherwise "reject", or not said: the m-line is rejected; "name": the answer has the format all the same, under a payload
    type that was not offered.
    """

    def __init__(self, taken):
        self.taken = taken
        # By index of the m-line: the accepted payload type; None if the format was not offered.
        self.pt_by_place = {}
        self.mode_by_place = {}
        self.offered_pts = {}

    def offer(self, sdp):
        """The offer, rewritten for aiortc: with one codec that it supports."""
        sections = split(sdp)
        for index in videos(sections):
            section = sections[index]
            pt = self.pt_by_place[index] = self.choose(section)
            self.offered_pts[index] = all_formats(section)
            self.mode_by_place[index] = mode_of(section, pt)
            shown = pt or (formats_of(section, H264) + formats_of(section, VP8))[0]
            section = with_formats(section, [shown])
            if shown in formats_of(section, H264):
                section = with_fmtp(section, shown, OWN)
            sections[index] = section
        return "".join(sections)

    def choose(self, section):
        taken = self.taken
        if taken["codec"] == "vp8":
            fitting = formats_of(section, VP8)
        elif taken["profile"] is None:
            fitting = formats_of(section, H264)
        else:
            wanted = (taken["profile"], taken["mode"])
            fitting = [pt for pt in formats_of(section, H264) if (profile_of(section, pt), mode_of(section, pt)) == wanted]
        return fitting[0] if fitting else None

    def answer(self, sdp):
        """aiortc's answer, rewritten for the server."""
        sections = split(sdp)
        for index in videos(sections):
            section, pt = sections[index], self.pt_by_place[index]
            if pt is not None:
                if self.taken["codec"] == "h264":
                    mode = self.mode_by_place[index]
                    sections[index] = with_fmtp(section, pt, fmtp({"mode": mode, "profile": self.taken["profile"]}))
            elif self.taken.get("otherwise", "reject") == "reject":
                mid = re.search(r"^a=mid:(\S+)", section, re.M)[1]
                sections[index] = re.sub(r"^m=video \d+", "m=video 0", section)
                sections[0] = re.sub(rf"^(a=group:BUNDLE.*?) {re.escape(mid)}(?=[ \r])", r"\1", sections[0], flags=re.M)
            else:
                sections[index] = self.under_its_own_number(section, index)
        return "".join(sections)

    def under_its_own_number(self, section, index):
        own = next(pt for pt in range(96, 128) if str(pt) not in self.offered_pts[index])
        name = VP8 if self.taken["codec"] == "vp8" else H264
        lines = f"a=rtpmap:{own} {name}/90000\r\n"
        if name == H264:
            lines += f"a=fmtp:{own} {fmtp(self.taken)}\r\n"
        return re.sub(r"^(m=video \d+ \S+).*\r\n", rf"\g<1> {own}\r\n", with_formats(section, [])) + lines


def fmtp(wanted):
    profile = f";profile-level-id={wanted['profile']}" if wanted["profile"] else ""
    return f"level-asymmetry-allowed=1;packetization-mode={wanted['mode']}{profile}"


def split(sdp):
    """The session's lines, and the lines of each m-line."""
    return re.split(r"(?m)^(?=m=)", sdp)


def videos(sections):
    return [index for index, section in enumerate(sections) if section.startswith("m=video")]


def all_formats(section):
    return section.splitlines()[0].split()[3:]


def formats_of(section, name):
    """Payload types of a codec, in order of preference."""
    return [pt for pt in all_formats(section) if re.search(rf"^a=rtpmap:{pt} {name}/", section, re.M | re.I)]


def fmtp_of(section, pt):
    found = re.search(rf"^a=fmtp:{pt} (.*?)\r?$", section, re.M)
    return found[1] if found else ""


def profile_of(section, pt):
    found = re.search(r"profile-level-id=([0-9a-f]{6})", fmtp_of(section, pt), re.I)
    return found and found[1].lower()


def mode_of(section, pt):
    """The packetization mode; 0 if absent (RFC 6184 section 8.1)."""
    found = re.search(r"packetization-mode=(\d)", fmtp_of(section, pt))
    return int(found[1]) if found else 0


def with_fmtp(section, pt, value):
    without = re.sub(rf"^a=fmtp:{pt} .*\r\n", "", section, flags=re.M)
    return re.sub(rf"^(a=rtpmap:{pt} .*\r\n)", rf"\g<1>a=fmtp:{pt} {value}\r\n", without, flags=re.M)


def with_formats(section, pts):
    """Keeps only these payload types and their RTX."""
    resends = {pt: re.search(r"apt=(\d+)", fmtp_of(section, pt)) for pt in formats_of(section, RTX)}
    kept = pts + [pt for pt, apt in resends.items() if apt and apt[1] in pts]
    for pt in set(all_formats(section)) - set(kept):
        section = re.sub(rf"^a=(rtpmap|fmtp|rtcp-fb):{pt} .*\r\n", "", section, flags=re.M)
    return re.sub(r"^(m=video \d+ \S+).*\r\n", lambda found: " ".join([found[1], *kept]) + "\r\n", section)
