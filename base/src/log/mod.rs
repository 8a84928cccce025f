//! Where log lines go: standard error, or the system log by its datagram socket.
