// How both ends of a worker's connection notice that the other is gone: the numbers must agree, or
// the server answers a client's pings with GOAWAY "too_many_pings".
#pragma once

namespace trainyard {

// A worker pings after so long without traffic, and calls the connection dead after so long without
// an answer: together the 5 s within which a cut-off has to be noticed.
inline constexpr int kKeepaliveMs = 2'000;
inline constexpr int kKeepaliveTimeoutMs = 3'000;

// What the server must permit (GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS), with room
// for pings that arrive bunched, and with GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS set.
inline constexpr int kServerPingIntervalMinMs = 500;

// Largest piece of a blob in one message; gRPC refuses messages over 4 MiB.
inline constexpr int kBlobChunkBytes = 1 << 20;

}  // namespace trainyard
