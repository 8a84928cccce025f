//! From where each user logs in: is this network or country new for him? Bounded, in memory. No clock.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use crate::config::settings::Networks as Settings;
use crate::throttle::prefix;

/// What is remembered of all users.
#[derive(Debug)]
pub struct Networks {
    settings: Settings,
    users: HashMap<String, Seen>,
    order: VecDeque<String>,
}

/// What is remembered of one user, oldest first.
#[derive(Debug, Default)]
struct Seen {
    networks: VecDeque<IpAddr>,
    countries: VecDeque<[u8; 2]>,
}

/// What is new about a login. The first login of a user is nothing new.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct New {
    /// The user was seen before, but not from this network.
    pub network: bool,
    /// The user was seen before, but not from this country.
    pub country: bool,
}

impl Networks {
    /// Nobody seen yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, users: HashMap::new(), order: VecDeque::new() }
    }

    /// Takes in a login of `user` from `address`, which is in `country` (ISO 3166, two letters) where
    /// known.
    pub fn login(&mut self, user: &str, address: IpAddr, country: Option<[u8; 2]>) -> New {
        if self.settings.users == 0 {
            return New::default();
        }
        let network = prefix(address, self.settings.ipv4_prefix, self.settings.ipv6_prefix);
        let most = self.settings.per_user.max(1);
        if let Some(seen) = self.users.get_mut(user) {
            return seen.login(network, country, most);
        }
        if self.users.len() >= self.settings.users
            && let Some(oldest) = self.order.pop_front()
        {
            self.users.remove(&oldest);
        }
        self.order.push_back(user.to_owned());
        self.users.entry(user.to_owned()).or_default().login(network, country, most)
    }

    /// How many users are remembered.
    #[must_use]
    pub fn users(&self) -> usize {
        self.users.len()
    }
}

impl Seen {
    fn login(&mut self, network: IpAddr, country: Option<[u8; 2]>, most: usize) -> New {
        New {
            network: remember(&mut self.networks, network, most),
            country: country.is_some_and(|country| remember(&mut self.countries, country, most)),
        }
    }
}

/// Moves `value` to the end of `list`, and tells whether it is new in a list that was not empty.
fn remember<T: PartialEq>(list: &mut VecDeque<T>, value: T, most: usize) -> bool {
    let known = list.iter().position(|old| *old == value);
    let new = known.is_none() && !list.is_empty();
    if let Some(at) = known {
        list.remove(at);
    } else if list.len() >= most {
        list.pop_front();
    }
    list.push_back(value);
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(users: usize) -> Networks {
        Networks::new(Settings {
            users,
            per_user: 2,
            ipv4_prefix: 24,
            ipv6_prefix: 48,
            country_database: None,
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_new_and_what_is_not() {
        let mut seen = networks(10);
        let (de, fr) = (Some(*b"DE"), Some(*b"FR"));
        assert_eq!(seen.login("bob", ip("192.0.2.1"), de), New::default(), "the first");
        assert_eq!(seen.login("bob", ip("192.0.2.200"), de), New::default(), "the same network");
        assert_eq!(seen.login("bob", ip("198.51.100.1"), de), New { network: true, country: false });
        assert_eq!(seen.login("bob", ip("203.0.113.1"), fr), New { network: true, country: true });
        assert_eq!(
            seen.login("bob", ip("192.0.2.1"), None),
            New { network: true, country: false },
            "forgotten"
        );
        assert_eq!(seen.login("eve", ip("203.0.113.1"), fr), New::default());
    }

    #[test]
    fn the_number_of_users_is_bounded() {
        let mut seen = networks(3);
        for n in 0..100 {
            seen.login(&format!("u{n}"), ip("192.0.2.1"), None);
        }
        assert_eq!((seen.users(), seen.order.len()), (3, 3));
        assert_eq!(networks(0).login("bob", ip("::1"), None), New::default());
    }
}
