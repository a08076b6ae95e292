// Package test holds what only a whole orch can show: applications on real engines, through the command line, and the floors
// of the house. Its hosts are test/lab's.
package test
