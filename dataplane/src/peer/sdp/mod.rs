//! SDP: normalises the SDP of other stacks before the session library reads it, and completes the library's SDP for
//! clients. The library's parser refuses or misreads parts of legal SDP.

pub(super) mod answer; // answers to a client's offer
pub(super) mod candidates; // our TCP candidates
mod extensions; // negotiation of RTP header extensions
pub(super) mod formats; // formats of an m-line
pub(super) mod groups; // lip sync: media stream ids and CNAMEs
pub(super) mod limits; // limits of an SDP
pub(super) mod lines; // m-lines as the session library knows them
mod normalise; // the offer that the session library reads
pub(super) mod offer; // a client's offer
pub(super) mod ours; // our offers to subscribers
mod read; // parser of sections and lines
pub(crate) mod simulcast; // simulcast layers of an offer
pub(super) mod theirs; // a client's answer to our offer
mod transport; // ICE and DTLS of the client
mod verdict; // result for each m-line of an offer

#[cfg(test)]
mod cost; // tests: CPU time of an offer
