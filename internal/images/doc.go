// Package images finds the container engine, names the images that a run uses, builds Triad's own image from the running
// program and the image that no registry has from another one and an archive, and brings images from the engine into the nodes of kind clusters.
//
// The one rule: a node never pulls. What a pod runs was put into its node from the host, so a closed network stays closed.
package images
