// Package revision unpacks what a git revision holds into a folder.
//
// The one rule: a repository is only read. What is unpacked is an archive and no work tree, so nothing is left in the repository, and nothing is
// written outside of the folder.
package revision
