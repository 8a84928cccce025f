//! What came of the scripts as bytes and back, between the process that runs them and the one that acts.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::action::{Edition, Notify, Vacation};
use super::evaluate::{Evaluation, Failed, Owner};
use super::mailto::Mailto;
use super::plan::{Notification, Plan, Redirect, Step, Store};
use super::syntax::Mistake;

/// A value that goes through a pipe.
pub trait Wire: Sized {
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes it from the front; `None` when the bytes are none of ours.
    fn take(from: &mut &[u8]) -> Option<Self>;
}

impl Wire for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let (first, rest) = from.split_first()?;
        *from = rest;
        Some(*first)
    }
}

impl Wire for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let (bytes, rest) = from.split_first_chunk()?;
        *from = rest;
        Some(Self::from_le_bytes(*bytes))
    }
}

impl Wire for usize {
    fn put(&self, out: &mut Vec<u8>) {
        u64::try_from(*self).unwrap_or(u64::MAX).put(out);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Self::try_from(u64::take(from)?).ok()
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        u8::from(*self).put(out);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        match u8::take(from)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        for item in self {
            item.put(out);
        }
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let length = usize::take(from)?;
        // Each item has at least one byte, so a length that lies takes no memory.
        if length > from.len() {
            return None;
        }
        (0..length).map(|_| T::take(from)).collect()
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Self::from_utf8(Vec::take(from)?).ok()
    }
}

impl Wire for PathBuf {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_os_str().as_bytes().to_vec().put(out);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some(Self::from(OsString::from_vec(Vec::take(from)?)))
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        if bool::take(from)? { T::take(from).map(Some) } else { Some(None) }
    }
}

impl<T: Wire, E: Wire> Wire for Result<T, E> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_ok().put(out);
        match self {
            Ok(value) => value.put(out),
            Err(error) => error.put(out),
        }
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        if bool::take(from)? { T::take(from).map(Ok) } else { E::take(from).map(Err) }
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some((A::take(from)?, B::take(from)?))
    }
}

macro_rules! wire {
    ($($name:ident { $($field:ident),* })*) => {
        $(impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)*
            }

            fn take(from: &mut &[u8]) -> Option<Self> {
                Some(Self { $($field: Wire::take(from)?),* })
            }
        })*
    };
}

wire! {
    Store { mailbox, keep, flags, create, copy, edition }
    Redirect { address, copy, edition }
    Vacation { period, subject, from, addresses, handle, mime, reason }
    Notify { from, importance, message, method }
    Mailto { to, cc, subject, body, fields }
    Notification { notify, mailto }
    Edition { head, rest_at }
    Plan { steps, implicit_keep, editions }
    Mistake { line, text }
    Failed { script, owner, complaints }
    Evaluation { plan, failed, any }
}

impl Wire for Owner {
    fn put(&self, out: &mut Vec<u8>) {
        (*self == Self::User).put(out);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some(if bool::take(from)? { Self::User } else { Self::Site })
    }
}

impl Wire for Step {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Store(store) => tagged(out, 0, store),
            Self::Redirect(redirect) => tagged(out, 1, redirect),
            Self::Discard => out.push(2),
            Self::Reject { reason, extended } => {
                tagged(out, 3, reason);
                extended.put(out);
            }
            Self::Vacation(vacation) => tagged(out, 4, vacation),
            Self::Notify(notification) => tagged(out, 5, notification),
            Self::Track { id, seconds } => {
                tagged(out, 6, id);
                seconds.put(out);
            }
            Self::Debug(text) => tagged(out, 7, text),
        }
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some(match u8::take(from)? {
            0 => Self::Store(Wire::take(from)?),
            1 => Self::Redirect(Wire::take(from)?),
            2 => Self::Discard,
            3 => Self::Reject { reason: Wire::take(from)?, extended: Wire::take(from)? },
            4 => Self::Vacation(Wire::take(from)?),
            5 => Self::Notify(Wire::take(from)?),
            6 => Self::Track { id: Wire::take(from)?, seconds: Wire::take(from)? },
            7 => Self::Debug(Wire::take(from)?),
            _ => return None,
        })
    }
}

fn tagged(out: &mut Vec<u8>, tag: u8, value: &impl Wire) {
    out.push(tag);
    value.put(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation() -> Evaluation {
        let store = Store {
            mailbox: "ü".into(),
            keep: true,
            flags: vec!["\\Seen".into()],
            create: true,
            copy: false,
            edition: 1,
        };
        let mailto = super::super::mailto::parse("mailto:a@x.example?x-y=z").unwrap();
        let steps = vec![
            Step::Store(store.clone()),
            Step::Redirect(Redirect { address: "a@b".into(), copy: true, edition: 0 }),
            Step::Discard,
            Step::Reject { reason: "no".into(), extended: true },
            Step::Vacation(Vacation { period: Some(3), handle: Some("h".into()), ..Vacation::default() }),
            Step::Notify(Notification { notify: Notify::default(), mailto }),
            Step::Track { id: "i".into(), seconds: 9 },
            Step::Debug("d".into()),
        ];
        let editions = vec![Edition { head: b"X: y\n".to_vec(), rest_at: 7 }];
        Evaluation {
            plan: Plan { steps, implicit_keep: Some(store), editions },
            failed: Some(Failed {
                script: "/x".into(),
                owner: Owner::User,
                complaints: vec![Mistake::new(3, "t")],
            }),
            any: true,
        }
    }

    #[test]
    fn there_and_back() {
        for value in [Ok(evaluation()), Err("why".to_owned())] {
            let mut bytes = Vec::new();
            value.put(&mut bytes);
            let mut from = bytes.as_slice();
            assert_eq!(Wire::take(&mut from), Some(value));
            assert!(from.is_empty());
        }
    }

    #[test]
    fn what_is_cut_off_or_changed_is_no_value() {
        let mut bytes = Vec::new();
        evaluation().put(&mut bytes);
        for end in 0..bytes.len() {
            assert_eq!(Evaluation::take(&mut bytes.get(..end).unwrap()), None, "{end}");
        }
        let mut huge = Vec::new();
        u64::MAX.put(&mut huge);
        assert_eq!(Vec::<String>::take(&mut huge.as_slice()), None);
    }
}
