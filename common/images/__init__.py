"""Reading images: decoding within limits, in processes of their own; see `common.images.sandbox`."""
