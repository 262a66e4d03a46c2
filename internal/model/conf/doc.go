// Package conf reads the YAML configuration of a program that a model stands for: section by section, with the line of
// every value, and with a record of what was read.
//
// The one rule: a key is either read by the model or ends in the list of what is not modelled; none is lost in between.
package conf
