//! Ports for programs that are started again at the same place.
//!
//! The system's own choice lies where the near ends of connections are: while a program that was killed is away, a connection
//! of somebody else may be given its port. So these lie below.

use std::io::{Error, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener};

/// First port that is tried, and how many follow: above the well-known ones, below Linux' `net.ipv4.ip_local_port_range`,
/// which begins at 32,768 where nobody changed it.
const FIRST: u16 = 16_384;
const COUNT: u16 = 16_384;

/// Steps from one port to the next, without a common divisor with [`COUNT`], so that every one is tried. Programs that
/// choose at the same time begin at different places.
const STEP: u16 = 7_919;

/// As many free places at `listen` as are asked for. All are held until the last is known, so that none is given twice.
///
/// # Errors
/// What the system says of the last that was tried, when there are not so many.
pub(crate) fn free<const N: usize>(listen: IpAddr) -> Result<[SocketAddr; N], Error> {
    let mut held = Vec::with_capacity(N);
    let mut refusal = Error::from(ErrorKind::AddrInUse);
    let begin = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or_default();
    for turn in 0..COUNT {
        let offset = begin.wrapping_add(turn.wrapping_mul(STEP)) % COUNT;
        match TcpListener::bind(SocketAddr::new(listen, FIRST + offset)) {
            Ok(listener) => held.push(listener),
            Err(error) => refusal = error,
        }
        if held.len() == N {
            break;
        }
    }
    let places = held.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
    places.try_into().map_err(|_| refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_differ_and_lie_below_those_of_connections() {
        let listen = testkit::steady_address().ip();
        let places = free::<4>(listen).unwrap();
        for (at, place) in places.iter().enumerate() {
            assert!((FIRST..FIRST + COUNT).contains(&place.port()));
            assert!(!places[..at].contains(place));
        }
        let taken = TcpListener::bind(places[0]).unwrap();
        assert!(!free::<8>(listen).unwrap().contains(&taken.local_addr().unwrap()));
    }

    #[test]
    fn a_foreign_address_is_refused_as_the_system_says() {
        let error = free::<1>("192.0.2.1".parse().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    }
}
