"""The server's side of TLS, by Python's ssl module."""

import ssl

from naru.engine.config import Config, ConfigError


def server_context(config: Config) -> ssl.SSLContext:
    """TLS 1.2 or newer; with tlsverify, clients must show a certificate of the CA.

    Raises: ConfigError naming the file that cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(config.tlscert or "", config.tlskey)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"cannot use tlscert {config.tlscert} with tlskey {config.tlskey}: {error}"
        ) from error
    if config.tlsverify:
        try:
            context.load_verify_locations(config.tlscacert)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"cannot use tlscacert {config.tlscacert}: {error}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context
