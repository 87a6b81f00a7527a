//! Method and class of a message, which are mixed in its first two bytes (RFC 8489 section 5).

/// Method of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Method {
    /// Asks for the reflexive address, and checks connectivity (RFC 8489 section 3).
    Binding = 0x001,
    /// Requests a relayed address (RFC 8656 section 7).
    Allocate = 0x003,
    /// Extends or ends an allocation (section 8).
    Refresh = 0x004,
    /// Sends data to a peer (section 11.1).
    Send = 0x006,
    /// Delivers data from a peer (section 11.3).
    Data = 0x007,
    /// Permits a peer's address (section 10).
    CreatePermission = 0x008,
    /// Binds a channel to a peer (section 12).
    ChannelBind = 0x009,
}

/// Class of a message in a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Class {
    /// A request, which needs a response.
    Request = 0x0000,
    /// An indication, which gets no response.
    Indication = 0x0010,
    /// A success response to a request.
    Success = 0x0100,
    /// An error response to a request.
    Error = 0x0110,
}

impl Method {
    /// The first two bytes of a message with this method and `class`.
    pub fn kind(self, class: Class) -> u16 {
        // All methods here are below 0x010, so the class bits do not split them.
        self as u16 | class as u16
    }

    /// Method of a message that starts with `kind`; `None` for an unknown method.
    pub fn of(kind: u16) -> Option<Self> {
        match kind & 0x3eef {
            0x001 => Some(Self::Binding),
            0x003 => Some(Self::Allocate),
            0x004 => Some(Self::Refresh),
            0x006 => Some(Self::Send),
            0x007 => Some(Self::Data),
            0x008 => Some(Self::CreatePermission),
            0x009 => Some(Self::ChannelBind),
            _ => None,
        }
    }
}

impl Class {
    /// Class of a message that starts with `kind`.
    pub fn of(kind: u16) -> Self {
        match (kind & 0x0100 != 0, kind & 0x0010 != 0) {
            (false, false) => Self::Request,
            (false, true) => Self::Indication,
            (true, false) => Self::Success,
            (true, true) => Self::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_taken_apart_as_they_were_put_together() {
        let methods = [
            Method::Binding,
            Method::Allocate,
            Method::Refresh,
            Method::Send,
            Method::Data,
            Method::CreatePermission,
            Method::ChannelBind,
        ];
        let classes = [
            Class::Request,
            Class::Indication,
            Class::Success,
            Class::Error,
        ];
        for method in methods {
            for class in classes {
                let kind = method.kind(class);
                assert_eq!(
                    (Method::of(kind), Class::of(kind)),
                    (Some(method), class),
                    "{kind:#06x}"
                );
            }
        }
        // RFC 8656 section 17 and the example of RFC 8489 section 5.
        assert_eq!(Method::Binding.kind(Class::Success), 0x0101);
        assert_eq!(Method::Send.kind(Class::Indication), 0x0016);
        assert_eq!(Method::Allocate.kind(Class::Error), 0x0113);
        assert_eq!(Method::of(0x0002), None);
        assert_eq!(Method::of(0x2003), None);
    }
}
