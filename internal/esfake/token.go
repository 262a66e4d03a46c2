package esfake

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// tagPrefix starts the tokens that have an inverted index of their own; every other token is found by scanning.
const tagPrefix = "tq_"

// maxTokenLen is the standard analyzer's max_token_length default; longer runs are cut.
const maxTokenLen = 255

func tokenByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func tokenRune(r rune) bool {
	return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r)
}

// tagTokens calls fn with the place of every token of the JSON string body raw that starts with tagPrefix and is plain
// ASCII. It reads the escaped form, because the offsets must point into the stored document.
func tagTokens(raw []byte, fn func(off, n int)) {
	start, plain := -1, true
	flush := func(end int) {
		if start >= 0 && plain && end-start > len(tagPrefix) && end-start <= maxTokenLen && hasFoldedPrefix(raw[start:end], tagPrefix) {
			fn(start, end-start)
		}
		start, plain = -1, true
	}
	for i := 0; i < len(raw); {
		c := raw[i]
		if c < utf8.RuneSelf && c != '\\' {
			if !tokenByte(c) {
				if start >= 0 {
					flush(i)
				}
			} else if start < 0 {
				start = i
			}
			i++
			continue
		}
		var r rune
		size := 2
		switch {
		case c == '\\' && raw[i+1] == 'u':
			r, _ = hex4(raw[i+2:])
			size = 6
		case c == '\\': // \n, \" and the like stand for no letter
		default:
			r, size = utf8.DecodeRune(raw[i:])
		}
		if r != 0 && tokenRune(r) {
			if start < 0 {
				start = i
			}
			plain = false // another token than the ASCII part alone
		} else {
			flush(i)
		}
		i += size
	}
	flush(len(raw))
}

// tokens calls fn with each token of text, lower-cased, until fn returns false. The slice is valid during the call.
func tokens(text []byte, fn func(tok []byte) bool) {
	var buf [maxTokenLen + utf8.UTFMax]byte
	tok := buf[:0]
	for i := 0; i < len(text); {
		r, size := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(text[i:])
		}
		i += size
		if tokenRune(r) {
			tok = utf8.AppendRune(tok, unicode.ToLower(r))
			if len(tok) < maxTokenLen {
				continue
			}
		}
		if len(tok) > 0 {
			if !fn(tok) {
				return
			}
			tok = buf[:0]
		}
	}
	if len(tok) > 0 {
		fn(tok)
	}
}

// tokenList returns the tokens of text.
func tokenList(text string) []string {
	var out []string
	tokens([]byte(text), func(tok []byte) bool {
		out = append(out, string(tok))
		return true
	})
	return out
}

// isTag reports whether a query value can be answered from the inverted index.
func isTag(s string) bool {
	if len(s) <= len(tagPrefix) || len(s) > maxTokenLen || s[:len(tagPrefix)] != tagPrefix {
		return false
	}
	for i := range len(s) {
		if !tokenByte(s[i]) || s[i] >= 'A' && s[i] <= 'Z' {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// hasFoldedPrefix reports whether tok, lower-cased, starts with prefix, which is lower case.
func hasFoldedPrefix(tok []byte, prefix string) bool {
	if len(tok) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if lower(tok[i]) != prefix[i] {
			return false
		}
	}
	return true
}

func equalFolded(tok []byte, want string) bool {
	return len(tok) == len(want) && hasFoldedPrefix(tok, want)
}

// containsPhrase reports whether the tokens of text hold phrase in order and next to each other.
func containsPhrase(text []byte, phrase []string) bool {
	if len(phrase) == 0 {
		return false
	}
	var window [][]byte
	found := false
	tokens(text, func(tok []byte) bool {
		window = append(window, bytes.Clone(tok))
		if len(window) > len(phrase) {
			window = window[1:]
		}
		if len(window) < len(phrase) {
			return true
		}
		for i := range phrase {
			if string(window[i]) != phrase[i] {
				return true
			}
		}
		found = true
		return false
	})
	return found
}
