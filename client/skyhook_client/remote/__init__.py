"""A client of the delivery service: control calls over gRPC, answers over Arrow Flight."""
