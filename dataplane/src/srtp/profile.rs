//! The protection profiles of DTLS-SRTP.

/// The protection profiles of DTLS-SRTP that are negotiated (RFC 5764, RFC 7714).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// The profile SRTP_AES128_CM_HMAC_SHA1_80 (RFC 5764).
    Aes128CmSha1,
    /// The profile SRTP_AEAD_AES_128_GCM (RFC 7714).
    AeadAes128Gcm,
    /// The profile SRTP_AEAD_AES_256_GCM (RFC 7714).
    AeadAes256Gcm,
}

impl Profile {
    /// Length of master key and of master salt, in bytes.
    pub(super) fn lengths(self) -> (usize, usize) {
        match self {
            Profile::Aes128CmSha1 => (16, 14),
            Profile::AeadAes128Gcm => (16, 12),
            Profile::AeadAes256Gcm => (32, 12),
        }
    }
}
