//! The local time zone, which `date` and `currentdate` mean when a script names none (RFC 5260 §4.1).

/// Minutes east of UTC at a second since 1970.
#[must_use]
pub fn minutes_east(seconds: u64) -> i32 {
    let Ok(time) = nix::libc::time_t::try_from(seconds) else { return 0 };
    let mut broken = std::mem::MaybeUninit::<nix::libc::tm>::uninit();
    // SAFETY: both pointers are valid for the call; localtime_r fills the structure or gives null, and is safe in
    // threads.
    #[allow(unsafe_code, reason = "the system's time zones; a crate would bring its own tables")]
    let filled = unsafe {
        let found = nix::libc::localtime_r(&raw const time, broken.as_mut_ptr());
        (!found.is_null()).then(|| broken.assume_init())
    };
    filled.and_then(|broken| i32::try_from(broken.tm_gmtoff / 60).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_zone() {
        assert!(minutes_east(1_795_687_139).abs() <= 14 * 60);
    }
}
