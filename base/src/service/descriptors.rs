//! How many descriptors the process may have open: as many as its connections need, if the system allows it.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to `wanted`, as far as the hard limit goes, and warns when that is not enough. A limit that
/// is higher stays.
///
/// systemd gives a service that asks for nothing 1024, and so does a shell.
pub fn allow(wanted: u64) {
    match raise(wanted) {
        Ok(limit) if limit < wanted => {
            log::warn!(
                "only {limit} files and connections can be open at a time; the limits in force need {wanted} \
                 (see LimitNOFILE= of the unit, or ulimit -n)"
            );
        }
        Ok(_) => {}
        Err(error) => {
            log::warn!("the number of files and connections that can be open is not known: {error}");
        }
    }
}

/// The limit that is in force then.
fn raise(wanted: u64) -> nix::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= wanted {
        return Ok(soft);
    }
    let limit = wanted.min(hard);
    setrlimit(Resource::RLIMIT_NOFILE, limit, hard)?;
    Ok(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_goes_up_and_not_down() {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        // Other tests of this process have their files open, too.
        let low = hard.min(512);
        setrlimit(Resource::RLIMIT_NOFILE, low, hard).unwrap();
        let raised = raise(hard.min(600)).unwrap();
        assert_eq!(raised, hard.min(600));
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (raised, hard));
        assert_eq!(raise(1).unwrap(), raised);
        assert_eq!(raise(u64::MAX).unwrap(), hard);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    }
}
