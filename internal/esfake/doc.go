// Package esfake is an Elasticsearch-shaped store: an HTTP server that Elasticsearch clients accept, that keeps the
// documents it is given in memory or in a file, makes them searchable at the refresh interval of their index, and can be made to
// throttle, refuse, slow down or block writes while it runs. The embedded runtime and the stand-in pods use it in place
// of Elasticsearch.
//
// The one rule: an answer has the shape, the status and the visibility that Elasticsearch 8 would give, or it is an
// error that says what is not supported; nothing is accepted and then forgotten.
//
// What is not like the real thing: one node and one shard per index, no disk, no scoring (every hit has score 1), no
// aggregations, no search-idle shards (an index without searches keeps refreshing), tokens are runs of letters, digits
// and underscores (the standard analyzer also joins "1.5" and "it's"), and speed, which says nothing about Elasticsearch.
package esfake
