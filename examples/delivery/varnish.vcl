vcl 4.1;

# Varnish in front of Vessel. It heeds Cache-Control itself. With
#     [[purge]]
#     url = "http://127.0.0.1:6081/"
#     style = "varnish-ban"
# in Vessel's settings, readers see a new version at once.

backend vessel {
    .host = "127.0.0.1";
    .port = "8080";
}

# Who may say that a pointer moved.
acl tellers {
    "127.0.0.1";
    "::1";
}

sub vcl_recv {
    if (req.method == "BAN") {
        if (client.ip !~ tellers) {
            return (synth(403, "not allowed"));
        }
        ban("obj.http.Surrogate-Key ~ " + req.http.X-Ban-Keys);
        return (synth(200, "banned"));
    }
}

sub vcl_backend_response {
    # An old pointer is handed out for a day when Vessel is down.
    set beresp.grace = 1d;
    # Large packages are handed on while they come in.
    set beresp.do_stream = true;
}

sub vcl_deliver {
    unset resp.http.Surrogate-Key;
}
