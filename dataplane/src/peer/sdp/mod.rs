//! SDP: what other stacks write comes to one shape before the session library reads it, and what the library writes to
//! what the client can use. The library's parser is not the contract.

pub(super) mod answer; // an answer m-line for each that was offered
pub(super) mod candidates; // where we are reached, and what a client says of itself
mod extensions; // RTP header extensions of use to us
pub(super) mod formats; // what each payload type means
pub(super) mod groups; // what is played in sync
pub(super) mod limits; // sizes that reading costs time for
pub(super) mod lines; // m-lines as the session library knows them
mod normalise; // the offer that the session library reads
pub(super) mod offer; // a client's offer
pub(super) mod ours; // the offers that subscribers get
mod read; // sections and lines
pub(crate) mod simulcast; // layers of an offer
pub(super) mod theirs; // a client's answer to our offer
mod transport; // ICE and DTLS of the client
mod verdict; // what comes of each m-line

#[cfg(test)]
mod cost; // what an offer can cost
