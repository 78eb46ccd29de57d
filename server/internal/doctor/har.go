package doctor

import "io"

func isHAR(head []byte) bool { return false }

func readHAR(r io.Reader, o Options) (*Case, error) { return nil, nil }
