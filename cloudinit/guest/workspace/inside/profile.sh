# Debian's /etc/profile forgets the PATH that a login shell is given.
case $PATH in */usr/local/share/secondlock/workspace*) ;; *) PATH=$PATH:/usr/local/share/secondlock/workspace ;; esac
case :$PATH: in *:$HOME/.local/bin:*) ;; *) PATH=$HOME/.local/bin:$PATH ;; esac
