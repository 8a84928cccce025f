//! Body hashes: the body is canonicalized and hashed as it arrives and never kept.

use super::canonical::Canonicalization;
use super::crypto::Sha256;
use line_ends::LineEnds;
use relaxed::Relaxed;
use simple::Simple;

mod line_ends;
mod relaxed;
mod simple;

/// The body hashes that the signatures of one message need, all made in one pass.
///
/// Each canonicalization is done once and each pair of canonicalization and
/// limit is hashed once, however many signatures ask for it. What is held does
/// not depend on the size of the body: blank lines and blanks that may turn out
/// to be at the end are counted, not stored.
#[derive(Debug)]
pub struct BodyHashes {
    line_ends: Option<LineEnds>,
    engines: Engines,
}

/// Names one hash that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyHashId {
    canonicalization: Canonicalization,
    index: usize,
}

/// One finished body hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyHash {
    /// SHA-256 of the canonical body, or of as much of it as the limit lets through.
    pub digest: [u8; 32],
    /// The length of the whole canonical body in octets, also beyond the limit.
    pub canonical_bytes: u64,
}

impl BodyHashes {
    /// Nothing to hash yet. With `fix_crlf` a bare CR or LF counts as CRLF (OpenDKIM's
    /// `FixCRLF`); without it they are hashed as they are.
    #[must_use]
    pub fn new(fix_crlf: bool) -> Self {
        Self { line_ends: fix_crlf.then(LineEnds::default), engines: Engines::default() }
    }

    /// Asks for a hash; to be called before the first piece of the body.
    ///
    /// `limit` is the number of canonical octets that count, `l=` of a signature.
    pub fn request(&mut self, canonicalization: Canonicalization, limit: Option<u64>) -> BodyHashId {
        let digests = match canonicalization {
            Canonicalization::Simple => &mut self.engines.simple_out.digests,
            Canonicalization::Relaxed => &mut self.engines.relaxed_out.digests,
        };
        let index = digests.iter().position(|digest| digest.limit == limit).unwrap_or_else(|| {
            digests.push(LimitedDigest { limit, room: limit.unwrap_or(u64::MAX), sha256: Sha256::new() });
            digests.len() - 1
        });
        BodyHashId { canonicalization, index }
    }

    /// Whether no hash was asked for; the body need not be given then.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.engines.simple_out.digests.is_empty() && self.engines.relaxed_out.digests.is_empty()
    }

    /// Takes the next piece of the body, cut anywhere.
    pub fn update(&mut self, piece: &[u8]) {
        if self.is_idle() {
            return;
        }
        let Self { line_ends, engines } = self;
        match line_ends {
            None => engines.update(piece),
            Some(line_ends) => line_ends.update(piece, |fixed| engines.update(fixed)),
        }
    }

    /// Ends the body and gives the hashes.
    #[must_use]
    pub fn finish(mut self) -> FinishedBody {
        if let Some(line_ends) = self.line_ends {
            line_ends.finish(|fixed| self.engines.update(fixed));
        }
        let Engines { simple, simple_out, relaxed, relaxed_out } = self.engines;
        FinishedBody {
            simple: simple_out.finish(|out| simple.finish(out)),
            relaxed: relaxed_out.finish(|out| relaxed.finish(out)),
        }
    }
}

/// The hashes of a body that has ended.
#[derive(Debug)]
pub struct FinishedBody {
    simple: Vec<BodyHash>,
    relaxed: Vec<BodyHash>,
}

impl FinishedBody {
    /// The hash that `id` names; `None` if `id` comes from another [`BodyHashes`].
    #[must_use]
    pub fn hash(&self, id: BodyHashId) -> Option<BodyHash> {
        let hashes = match id.canonicalization {
            Canonicalization::Simple => &self.simple,
            Canonicalization::Relaxed => &self.relaxed,
        };
        hashes.get(id.index).copied()
    }
}

#[derive(Debug, Default)]
struct Engines {
    simple: Simple,
    simple_out: Output,
    relaxed: Relaxed,
    relaxed_out: Output,
}

impl Engines {
    fn update(&mut self, piece: &[u8]) {
        if !self.simple_out.digests.is_empty() {
            self.simple.update(piece, &mut self.simple_out);
        }
        if !self.relaxed_out.digests.is_empty() {
            self.relaxed.update(piece, &mut self.relaxed_out);
        }
    }
}

/// Where a canonicalization puts its text: every digest takes as much as its limit allows.
#[derive(Debug, Default)]
struct Output {
    digests: Vec<LimitedDigest>,
    bytes: u64,
}

#[derive(Debug)]
struct LimitedDigest {
    limit: Option<u64>,
    room: u64,
    sha256: Sha256,
}

impl Output {
    fn put(&mut self, text: &[u8]) {
        self.bytes = self.bytes.saturating_add(text.len() as u64);
        for digest in &mut self.digests {
            let fits = usize::try_from(digest.room).unwrap_or(usize::MAX).min(text.len());
            digest.sha256.update(text.get(..fits).unwrap_or_default());
            digest.room -= fits as u64;
        }
    }

    fn put_line_ends(&mut self, count: u64) {
        let mut left = count;
        while left > 0 {
            let now = left.min(LINE_ENDS.len() as u64 / 2);
            let bytes = usize::try_from(2 * now).unwrap_or(LINE_ENDS.len());
            self.put(LINE_ENDS.get(..bytes).unwrap_or_default());
            left -= now;
        }
    }

    fn finish(mut self, end: impl FnOnce(&mut Self)) -> Vec<BodyHash> {
        end(&mut self);
        let canonical_bytes = self.bytes;
        let digests = self.digests.into_iter();
        digests.map(|each| BodyHash { digest: each.sha256.finish(), canonical_bytes }).collect()
    }
}

const LINE_ENDS: &[u8; 1024] = &{
    let mut text = [b'\r'; 1024];
    let mut at = 1;
    while at < 1024 {
        #[allow(clippy::indexing_slicing, reason = "evaluated when compiling")]
        {
            text[at] = b'\n';
        }
        at += 2;
    }
    text
};

#[cfg(test)]
mod tests;
