// Package containers runs single containers of the real programs for tests: brokers that can be killed and started again,
// a store, a Connect worker. Images come from the image set named by TRIAD_IMAGES and from nowhere else. Only tests call it.
//
// The one rule: a test that cannot have its container is skipped with the reason, and what a test started is gone when it
// ends.
package containers
