// Package obs is how processes tell what they do: logs, metrics and the ids
// that tie them together.
//
// A request id names one request to the api and a trace id (W3C Trace Context)
// names everything that follows from it, up to the receiver's traceparent
// header. Both travel in the context and appear on every log line written with
// it. Attribute keys are spelt here and nowhere else, so that one search finds
// a delivery in the logs of every process.
package obs
