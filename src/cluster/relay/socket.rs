//! What QUIC takes for a socket: packets that are sent lie here until they are passed on, and
//! those that have come until QUIC takes them. As with UDP, what finds no room is dropped.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::mem;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::sync::Notify;

use super::names::OWN;

/// Bytes that lie here in each direction, at most.
const BYTES_MAX: usize = 4 << 20;

/// A packet, and where it goes or comes from.
pub(super) type Packet = (SocketAddr, Box<[u8]>);

/// A socket without a network.
#[derive(Default)]
pub(super) struct Socket {
    sent: Mutex<Sent>,
    come: Mutex<Come>,
    /// Something was sent.
    pub(super) notify: Notify,
}

#[derive(Default)]
struct Sent {
    packets: Vec<Packet>,
    bytes: usize,
}

#[derive(Default)]
struct Come {
    packets: VecDeque<Packet>,
    bytes: usize,
    waker: Option<Waker>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Socket {
    /// Everything that was sent.
    pub(super) fn take(&self) -> Vec<Packet> {
        let mut sent = lock(&self.sent);
        sent.bytes = 0;
        mem::take(&mut sent.packets)
    }

    /// A packet has come. False if there is no room for it.
    pub(super) fn come(&self, from: SocketAddr, packet: &[u8]) -> bool {
        let mut come = lock(&self.come);
        if come.bytes + packet.len() > BYTES_MAX {
            return false;
        }
        come.bytes += packet.len();
        come.packets.push_back((from, packet.into()));
        if let Some(waker) = come.waker.take() {
            waker.wake();
        }
        true
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Socket").finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Always)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut sent = lock(&self.sent);
        let length = transmit.segment_size.unwrap_or(transmit.contents.len());
        for packet in transmit.contents.chunks(length.max(1)) {
            if sent.bytes + packet.len() > BYTES_MAX {
                break;
            }
            sent.bytes += packet.len();
            sent.packets.push((transmit.destination, packet.into()));
        }
        self.notify.notify_one();
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut come = lock(&self.come);
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let Some((addr, packet)) = come.packets.pop_front() else {
                break;
            };
            come.bytes -= packet.len();
            // One that is longer than any that this node would send is cut, as UDP does: QUIC
            // then does not take it.
            let len = packet.len().min(buffer.len());
            buffer[..len].copy_from_slice(&packet[..len]);
            *meta = RecvMeta {
                addr,
                len,
                stride: len,
                ..RecvMeta::default()
            };
            count += 1;
        }
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        come.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(OWN)
    }
}

/// There always is room, or a packet is dropped.
#[derive(Debug)]
struct Always;

impl UdpPoller for Always {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    const A: SocketAddr = OWN;

    fn send(socket: &Socket, contents: &[u8], segment_size: Option<usize>) {
        let transmit = Transmit {
            destination: A,
            ecn: None,
            contents,
            segment_size,
            src_ip: None,
        };
        socket.try_send(&transmit).unwrap();
    }

    fn receive(socket: &Socket, length: usize) -> Vec<Vec<u8>> {
        let mut bytes = [vec![0; length], vec![0; length]];
        let mut buffers = bytes.each_mut().map(|it| IoSliceMut::new(it));
        let mut metas = [RecvMeta::default(); 2];
        let mut context = Context::from_waker(Waker::noop());
        let count = match socket.poll_recv(&mut context, &mut buffers, &mut metas) {
            Poll::Ready(count) => count.unwrap(),
            Poll::Pending => 0,
        };
        let come = bytes.iter().zip(metas).take(count);
        come.map(|(bytes, meta)| bytes[..meta.len].to_vec())
            .collect()
    }

    #[test]
    fn what_is_sent_lies_there_in_packets_until_it_is_taken() {
        let socket = Socket::default();
        send(&socket, b"one", None);
        send(&socket, b"twothree", Some(3));
        let sent: Vec<_> = socket
            .take()
            .into_iter()
            .map(|(_, packet)| packet)
            .collect();
        let expected: [&[u8]; 4] = [b"one", b"two", b"thr", b"ee"];
        assert!(sent.iter().map(|packet| &**packet).eq(expected));
        assert!(socket.take().is_empty());
    }

    #[test]
    fn what_has_come_is_received_in_order_and_cut_where_it_is_too_long() {
        let socket = Socket::default();
        for packet in [&b"1"[..], b"22", b"a long one"] {
            assert!(socket.come(A, packet));
        }
        assert_eq!(receive(&socket, 4), [b"1".to_vec(), b"22".to_vec()]);
        assert_eq!(receive(&socket, 4), [b"a lo".to_vec()]);
        assert!(receive(&socket, 4).is_empty());
    }

    #[test]
    fn what_finds_no_room_is_dropped() {
        let socket = Socket::default();
        let packet = vec![0; BYTES_MAX / 2];
        assert!(socket.come(A, &packet) && socket.come(A, &packet));
        assert!(!socket.come(A, b"1"));
        assert_eq!(receive(&socket, 1).len(), 2);
        assert!(socket.come(A, b"1"));
        for _ in 0..3 {
            send(&socket, &packet, None);
        }
        assert_eq!(socket.take().len(), 2);
        send(&socket, b"1", None);
        assert_eq!(socket.take().len(), 1);
    }
}
