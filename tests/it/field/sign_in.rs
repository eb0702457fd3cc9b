//! Apps, discovery, redirect URIs and what a sign-in may meet at real providers.
