"""Real peers over real loopback sockets: the server as twistd runs it, SIPp and baresip as caller and as target."""
