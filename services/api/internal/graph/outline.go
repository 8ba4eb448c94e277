package graph

// outline is what has to be known of a document before it is executed and is not
// told by the library, which keeps the parsed document to itself.
type outline struct {
	longestAlias int // in bytes
	introspects  bool
	json         map[string]bool // variables that an operation declares to be of type JSON
}

// outlineOf judges nothing: what is not GraphQL the parser refuses later.
func outlineOf(document string) (o outline) {
	s := documentScanner{text: document}
	parens := 0
	// The three tokens before the current one, the latest first.
	var last, second, third string
	for token := s.token(); token != ""; token = s.token() {
		switch token {
		case "(":
			parens++
		case ")":
			parens--
		case ":":
			if parens == 0 {
				o.longestAlias = max(o.longestAlias, len(last))
			}
		case "__schema", "__type":
			o.introspects = true
		case "JSON":
			if last == ":" && third == "$" {
				if o.json == nil {
					o.json = map[string]bool{}
				}
				o.json[second] = true
			}
		}
		last, second, third = token, last, second
	}
	return o
}
