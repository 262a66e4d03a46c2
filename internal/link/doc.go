// Package link stands for the network between two clusters: a Link wraps dialers and listeners, and what is set on it
// (cut, delay, bandwidth) applies at once to its open connections and to new ones. The one rule: a connection that
// survives a fault has lost, doubled and reordered nothing, as with TCP; what was written before or during a cut arrives
// after Heal, or the connection is reset and both ends see it.
//
// Wrap one end of a connection with one Link; two Links may be stacked with DialVia. Both ends with the same Link would
// apply its delay twice.
//
// What is simpler than the real thing:
//   - A connection survives a cut of any length: keepalive (Go: 150 s idle) and retransmission (Linux: about 15 min)
//     give up in the real kernel and end in ETIMEDOUT.
//   - Retransmissions of data start at 208 ms whatever the round trip takes; where only acknowledgements were dropped, none is waited for, and
//     the end of a connection that has nothing else to send is not sent again but held until Heal.
//   - A Listener admits one connection after the other: one that waits for its SYN keeps those behind it waiting.
//   - A rejecting cut of one direction acts on both: one reset ends a connection for both ends.
//   - Through a Listener, a dialer that is not wrapped sees its connect succeed, because the kernel accepts for the
//     listener: a cut that rejects resets it then, one that drops leaves it unanswered.
//   - While only the way back is cut, a write to a peer that has died still sees the error that could not come back.
//   - Half-close (CloseWrite) is not offered.
package link
